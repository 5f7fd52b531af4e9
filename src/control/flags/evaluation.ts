// What the flags say for one subject. The Unleash client evaluates; whatever is the same for every
// user is asked once per set, so that a decision on a client's path is a look-up or two hashes.
import type { Logger } from 'pino';
import { type Context, InMemStorageProvider, Unleash, UnleashEvents } from 'unleash-client';
import { flagName, type RouteConfig } from '../../config/schema.ts';
import {
  type FlagFacts,
  ISOLATION_MODES,
  type IsolationMode,
  SIDES,
  type Subject,
} from '../../rules/decide.ts';
import type { FlagNames } from '../../rules/flag-problem.ts';
import { dependsOnUser, drawsAtRandom, isKilled } from '../../rules/flag-shape.ts';
import { type FlagLookup, flagStage } from '../../rules/flag-stage.ts';
import { lookThroughKill, type Stage } from '../../rules/stage.ts';
import type { FlagSet } from './flag-set.ts';
import { SetRepository } from './repository.ts';

/** The client can complain on every call; one line in this time tells as much. */
const LOG_INTERVAL_MS = 10_000;
/** Asked with where the answer is the same for everybody. */
const ANYBODY: Context = { userId: '-' };

/** One flag for one route: `fixed` answers do not depend on the context. */
interface Question<T> {
  readonly fixed: boolean;
  readonly ask: (context: Context) => T;
}

interface RouteFlags {
  readonly stage: Stage;
  readonly serve: Question<FlagFacts['serve']>;
  readonly shadow: Question<boolean>;
  readonly kill: Question<boolean>;
  readonly isolation: Question<IsolationMode | undefined>;
  /** Facts for everybody, when no answer depends on who asks. */
  readonly same: FlagFacts | null;
  readonly anonymous: FlagFacts;
  /** When evaluation itself fails. */
  readonly safe: FlagFacts;
  readonly properties: { readonly route: string };
}

/** Names of a route's flags. */
export function flagNames(route: RouteConfig): FlagNames {
  return {
    route: route.name,
    serve: flagName(route, 'serve'),
    shadow: flagName(route, 'shadow'),
    kill: flagName(route, 'kill'),
    isolation: flagName(route, 'isolation'),
  };
}

export class FlagEvaluation {
  readonly #repository = new SetRepository();
  readonly #unleash: Unleash;
  readonly #logger: Logger;
  #flags: FlagLookup | null = null;
  /** By the route's configuration, which is a new object after a reload; a new map per set. */
  #routes = new WeakMap<RouteConfig, RouteFlags>();
  #loggedAt = Number.NEGATIVE_INFINITY;
  #unlogged = 0;

  /** `appName` and `environment` are what constraints on them are compared with. */
  constructor(
    logger: Logger,
    context: { appName?: string | undefined; environment?: string | undefined } = {},
  ) {
    const { appName = 'cutover', environment } = context;
    this.#logger = logger;
    this.#unleash = new Unleash({
      appName,
      ...(environment === undefined ? {} : { environment }),
      instanceId: 'cutover',
      // Required, and never called: repository and metrics are what would.
      url: 'http://flags.invalid/',
      repository: this.#repository,
      disableMetrics: true,
      metricsInterval: 0,
      // The default one trusts files in the temporary folder that anybody can plant.
      storageProvider: new InMemStorageProvider(),
      disableAutoStart: true,
      skipInstanceCountWarning: true,
    });
    this.#unleash.on(UnleashEvents.Error, error => this.#complain(error));
    this.#unleash.on(UnleashEvents.Warn, message => this.#complain(message));
  }

  async start(): Promise<void> {
    await this.#unleash.start();
  }

  close(): void {
    this.#unleash.destroy();
  }

  /** From the next call on, everything is answered from this set. */
  swap(set: FlagSet): void {
    this.#repository.swap(set);
    const byName = new Map(set.features.map(feature => [feature.name, feature]));
    this.#flags = name => byName.get(name);
    this.#routes = new WeakMap();
  }

  /** Null while no set is known. */
  stage(route: RouteConfig): Stage | null {
    return this.#flags === null ? null : this.#route(route, this.#flags).stage;
  }

  /** Null while no set is known. Never throws. */
  facts(route: RouteConfig, subject: Subject | null): FlagFacts | null {
    if (this.#flags === null) return null;
    const flags = this.#route(route, this.#flags);
    if (subject === null) return flags.anonymous;
    if (flags.same !== null) return flags.same;
    const context: Context = { userId: subject.id, properties: flags.properties };
    try {
      return {
        serve: flags.serve.ask(context),
        shadow: flags.shadow.ask(context),
        kill: flags.kill.ask(context),
        isolation: flags.isolation.ask(context),
        stage: flags.safe.stage,
      };
    } catch (error) {
      this.#complain(error);
      return flags.safe;
    }
  }

  #route(route: RouteConfig, flags: FlagLookup): RouteFlags {
    let compiled = this.#routes.get(route);
    if (compiled === undefined) {
      compiled = this.#compile(route, flags);
      this.#routes.set(route, compiled);
    }
    return compiled;
  }

  #compile(route: RouteConfig, flags: FlagLookup): RouteFlags {
    const names = flagNames(route);
    const stage = flagStage(flags, names);
    const killed = isKilled(flags(names.kill));
    const serve = this.#question<FlagFacts['serve']>(
      flags,
      names.serve,
      { missing: 'missing', random: 'unreadable', failed: 'legacy' },
      context => {
        const { feature_enabled: on, name } = this.#unleash.getVariant(names.serve, context);
        if (!on) return 'legacy';
        return SIDES.find(side => side === name) ?? 'unreadable';
      },
    );
    const shadow = this.#question(
      flags,
      names.shadow,
      { missing: false, random: false, failed: false },
      context => {
        const variant = this.#unleash.getVariant(names.shadow, context);
        // A flag without variants is simply on; one with variants has to say so.
        return variant.feature_enabled === true && (!variant.enabled || variant.name === 'on');
      },
    );
    const kill = this.#question(
      flags,
      names.kill,
      { missing: false, random: killed, failed: killed },
      context => this.#unleash.isEnabled(names.kill, context),
    );
    const isolation = this.#question<IsolationMode | undefined>(
      flags,
      names.isolation,
      { missing: undefined, random: undefined, failed: undefined },
      context => {
        const { enabled, name } = this.#unleash.getVariant(names.isolation, context);
        return enabled ? ISOLATION_MODES.find(mode => mode === name) : undefined;
      },
    );
    const beneath = lookThroughKill(stage);
    // Without a name there is nothing to deal out by: all or nothing, as the shares say.
    const anonymous: FlagFacts = Object.freeze({
      serve: serve.fixed ? serve.ask(ANYBODY) : stage.serve === 1000 ? 'candidate' : 'legacy',
      shadow: shadow.fixed ? shadow.ask(ANYBODY) : stage.shadow === 1000,
      kill: kill.fixed ? kill.ask(ANYBODY) : killed,
      isolation: isolation.fixed ? isolation.ask(ANYBODY) : undefined,
      stage: beneath,
    });
    const allFixed = serve.fixed && shadow.fixed && kill.fixed && isolation.fixed;
    return {
      stage,
      serve,
      shadow,
      kill,
      isolation,
      same: allFixed ? anonymous : null,
      anonymous,
      safe: Object.freeze({ serve: 'legacy', shadow: false, kill: killed, stage: beneath }),
      properties: { route: route.name },
    };
  }

  /** Settles once what does not depend on who asks. */
  #question<T>(
    flags: FlagLookup,
    name: string,
    otherwise: { missing: T; random: T; failed: T },
    ask: (context: Context) => T,
  ): Question<T> {
    const fixed = (value: T): Question<T> => ({ fixed: true, ask: () => value });
    const feature = flags(name);
    if (feature === undefined) return fixed(otherwise.missing);
    // A user must not change sides from one connection to the next.
    if (drawsAtRandom(feature)) return fixed(otherwise.random);
    if (dependsOnUser(feature)) return { fixed: false, ask };
    try {
      return fixed(ask(ANYBODY));
    } catch (error) {
      this.#complain(error);
      return fixed(otherwise.failed);
    }
  }

  #complain(what: unknown): void {
    const at = performance.now();
    if (at - this.#loggedAt < LOG_INTERVAL_MS) {
      this.#unlogged += 1;
      return;
    }
    const reason = what instanceof Error ? what.message : String(what);
    this.#logger.warn({ reason, unlogged: this.#unlogged }, 'flag evaluation complains');
    this.#loggedAt = at;
    this.#unlogged = 0;
  }
}
