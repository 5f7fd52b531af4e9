// Changes flags on an Unleash server by its admin API: what the proxy plans for a flag becomes the
// fewest calls that lead there, in an order in which every state between is one of the two, or safer.
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { CutoverError } from '../../errors.ts';
import { type FeatureLike, isBase, type StrategyLike } from '../../rules/flag-shape.ts';
import { type Pin, pinOf } from '../../rules/pin.ts';
import { pinChanges } from './pin-changes.ts';
import { RequestFault, request } from './unleash-request.ts';

/** A flag with all its environments is a few KB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** A server's own sentence is passed on to the operator, up to here. */
const SENTENCE_CHARACTERS = 300;

const AdminStrategy = z.looseObject({
  id: z.string(),
  name: z.string(),
  title: z.string().nullish(),
  disabled: z.boolean().nullish(),
  sortOrder: z.number().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  constraints: z
    .array(
      z.looseObject({
        contextName: z.string(),
        operator: z.string(),
        inverted: z.boolean().nullish(),
        values: z.array(z.string()).nullish(),
        value: z.union([z.string(), z.number()]).nullish(),
      }),
    )
    .nullish(),
  variants: z.array(z.looseObject({ name: z.string(), weight: z.number() })).nullish(),
  segments: z.array(z.int()).nullish(),
});
const AdminFeature = z.looseObject({
  environments: z.array(
    z.looseObject({
      name: z.string(),
      enabled: z.boolean(),
      strategies: z.array(AdminStrategy).nullish(),
    }),
  ),
  dependencies: z.array(z.unknown()).nullish(),
});
const Refusal = z.object({
  message: z.string(),
  details: z.array(z.object({ message: z.string() })).optional(),
});

type OnServer = z.output<typeof AdminStrategy>;

export interface UnleashAdminOptions {
  readonly url: string;
  readonly token: () => string;
  readonly project: string;
  readonly environment: string;
  readonly timeoutMs: number;
}

/** What the server has of a flag, in the environment. */
interface Present {
  readonly enabled: boolean;
  readonly strategies: readonly OnServer[];
  readonly dependent: boolean;
}

/** Whether a flag was made, completed (it had no strategy), or left as it was. */
export type Creation = 'created' | 'completed' | 'kept';

export class UnleashAdmin {
  readonly #options: UnleashAdminOptions;

  constructor(options: UnleashAdminOptions) {
    this.#options = options;
  }

  /**
   * Makes the flag like this one. Of strategies with constraints or segments, pins are added and removed
   * as they were since `before`; all others, and disabled ones, stay as they are. Throws
   * `CutoverError('conflict')` with what the server said.
   */
  async put(feature: FeatureLike, before?: FeatureLike): Promise<void> {
    const { name } = feature;
    const present = (await this.#find(name)) ?? (await this.#create(feature));
    const { added, removed } = pinChanges(before, feature);
    if (!feature.enabled) {
      if (present.enabled) await this.#call('POST', `${this.#environment(name)}/off`);
      await this.#removePins(name, removed, present.strategies);
      return;
    }
    if (present.dependent) {
      await this.#call('DELETE', `${this.#feature(name)}/dependencies`);
    }
    const base = feature.strategies.find(isBase);
    if (base !== undefined) await this.#putBase(name, base, present.strategies);
    // Added first: who is pinned anew is at no time pinned to nothing.
    await this.#addPins(name, added, present.strategies);
    await this.#removePins(name, removed, present.strategies);
    // Last: a flag must not be on before it says whom it is for.
    if (!present.enabled) await this.#call('POST', `${this.#environment(name)}/on`);
  }

  /** What `add` would do. */
  async look(name: string): Promise<Creation> {
    const present = await this.#find(name);
    if (present === null) return 'created';
    return present.strategies.length === 0 && !present.enabled ? 'completed' : 'kept';
  }

  /** Makes the flag if there is none, or if it is off and says nothing yet. Throws as `put` does. */
  async add(feature: FeatureLike): Promise<Creation> {
    const creation = await this.look(feature.name);
    if (creation === 'kept') return creation;
    if (creation === 'created') await this.#create(feature);
    for (const strategy of feature.strategies) {
      await this.#call('POST', this.#strategies(feature.name), bodyOf(strategy));
    }
    if (feature.enabled) await this.#call('POST', `${this.#environment(feature.name)}/on`);
    return creation;
  }

  async #putBase(flag: string, base: StrategyLike, strategies: readonly OnServer[]): Promise<void> {
    const active = strategies.filter(({ disabled }) => disabled !== true);
    const [first, ...others] = active.filter(isUnconstrained);
    if (first === undefined) {
      await this.#call('POST', this.#strategies(flag), bodyOf(base));
      return;
    }
    const { title = null, sortOrder } = first;
    // A kill switch that is only turned on should not depend on a write that changes nothing.
    if (!isDeepStrictEqual(bodyOf(base), bodyOf(first)))
      await this.#call('PUT', `${this.#strategies(flag)}/${segment(first.id)}`, {
        ...bodyOf(base),
        title,
        ...(typeof sortOrder === 'number' ? { sortOrder } : {}),
      });
    for (const { id } of others) {
      await this.#call('DELETE', `${this.#strategies(flag)}/${segment(id)}`);
    }
    const pins = active.filter(strategy => !isUnconstrained(strategy));
    const firstPin = pins.at(-1);
    if (firstPin === undefined || active.indexOf(firstPin) < active.indexOf(first)) return;
    // A strategy for everybody hides whatever comes after it.
    const order = [...pins, first].map(({ id }, index) => ({ id, sortOrder: index }));
    await this.#call('POST', `${this.#strategies(flag)}/set-sort-order`, order);
  }

  /** In front of everything else, each by one call that takes effect at once. */
  async #addPins(
    flag: string,
    added: readonly StrategyLike[],
    strategies: readonly OnServer[],
  ): Promise<void> {
    const first = Math.min(0, ...strategies.map(({ sortOrder }) => sortOrder ?? 0));
    for (const [i, pin] of added.entries()) {
      const sortOrder = first - added.length + i;
      const title = 'title' in pin ? { title: pin.title } : {};
      await this.#call('POST', this.#strategies(flag), { ...bodyOf(pin), ...title, sortOrder });
    }
  }

  async #removePins(
    flag: string,
    removed: readonly Pin[],
    strategies: readonly OnServer[],
  ): Promise<void> {
    for (const strategy of strategies) {
      if (strategy.disabled === true) continue;
      const pin = pinOf(strategy);
      if (pin === null || !removed.some(gone => isDeepStrictEqual(gone, pin))) continue;
      await this.#call('DELETE', `${this.#strategies(flag)}/${segment(strategy.id)}`);
    }
  }

  async #find(name: string): Promise<Present | null> {
    const { status, body } = await this.#ask('GET', this.#feature(name));
    if (status === 404) return null;
    const { data } = status === 200 ? AdminFeature.safeParse(body) : {};
    if (data === undefined) throw refused(`read flag ${name}`, status, body);
    const { environment, project } = this.#options;
    const found = data.environments.find(candidate => candidate.name === environment);
    if (found === undefined) {
      const known = data.environments.map(candidate => candidate.name).join(', ');
      const message = `project ${project} in Unleash has no environment ${environment}; it has ${known}`;
      throw new CutoverError('conflict', message, { field: 'flags.admin.environment' });
    }
    return {
      enabled: found.enabled,
      strategies: (found.strategies ?? []).toSorted(
        (a, b) => (a.sortOrder ?? 0) - (b.sortOrder ?? 0),
      ),
      dependent: (data.dependencies ?? []).length > 0,
    };
  }

  async #create({ name, type, description }: FeatureLike): Promise<Present> {
    const { status, body } = await this.#ask('POST', this.#features(), {
      name,
      type: type ?? 'release',
      ...(description ? { description } : {}),
    });
    // An archived flag can not be read, and its name can not be had again.
    if (status === 409 && /archived/i.test(JSON.stringify(body))) {
      throw new CutoverError('conflict', `flag ${name} is archived in Unleash; revive it there`);
    }
    if (status !== 201) throw refused(`create flag ${name}`, status, body);
    return { enabled: false, strategies: [], dependent: false };
  }

  async #call(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<void> {
    const answer = await this.#ask(method, path, body);
    if (answer.status >= 200 && answer.status < 300) return;
    throw refused(`${method} ${path}`, answer.status, answer.body);
  }

  async #ask(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }> {
    const { url, token, timeoutMs } = this.#options;
    try {
      const { status, text } = await request(`${url.replace(/\/+$/, '')}${path}`, {
        method,
        headers: {
          accept: 'application/json',
          authorization: token(),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        timeoutMs,
        maxBytes: MAX_ANSWER_BYTES,
      });
      return { status, body: jsonOf(text) };
    } catch (cause) {
      if (!(cause instanceof RequestFault)) throw cause;
      throw new CutoverError('conflict', `Unleash can not be asked: ${cause.message}`, { cause });
    }
  }

  #features(): string {
    return `/api/admin/projects/${segment(this.#options.project)}/features`;
  }

  #feature(name: string): string {
    return `${this.#features()}/${segment(name)}`;
  }

  #environment(name: string): string {
    return `${this.#feature(name)}/environments/${segment(this.#options.environment)}`;
  }

  #strategies(name: string): string {
    return `${this.#environment(name)}/strategies`;
  }
}

function segment(text: string): string {
  return encodeURIComponent(text);
}

function isUnconstrained({ constraints, segments }: OnServer): boolean {
  return (constraints ?? []).length === 0 && (segments ?? []).length === 0;
}

function bodyOf({ name, parameters, constraints, variants, segments }: StrategyLike): object {
  return {
    name,
    parameters: parameters ?? {},
    constraints: constraints ?? [],
    variants: variants ?? [],
    segments: segments ?? [],
  };
}

function refused(what: string, status: number, body: unknown): CutoverError {
  const { data } = Refusal.safeParse(body);
  const said = data?.details?.[0]?.message ?? data?.message ?? '';
  const why = status === 401 || status === 403 ? 'the token of flags.admin may not do that' : said;
  const sentence = why.replace(/\p{Cc}/gu, ' ').slice(0, SENTENCE_CHARACTERS);
  const message = `Unleash refuses to ${what} (${status})${sentence === '' ? '' : `: ${sentence}`}`;
  return new CutoverError('conflict', message);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Many answers are empty; whoever needs a body finds that there is none.
    return undefined;
  }
}
