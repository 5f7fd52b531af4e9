// A configuration file, from its text to what the rest of the program runs on. All or nothing: a
// file with a problem yields every problem, and no configuration.
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import type { NoiseProfile } from '../rules/compare/noise.ts';
import { type ConfigDocument, readDocument } from './document.ts';
import { coerce, type Environment } from './environment.ts';
import { type Explained, explain, valueAt } from './explain.ts';
import { readNoiseFile } from './noise-file.ts';
import { type Parts, soundParts } from './parts.ts';
import { ConfigError, type Path, type Problem } from './problem.ts';
import { type Config, ConfigSchema, type UnleashConfig } from './schema.ts';
import { readSmall, resolveSecrets, type Secrets } from './secrets.ts';
import { contradictions, doubts } from './sense.ts';

export interface Loaded {
  /** Deeply frozen; all paths absolute. */
  readonly config: Config;
  /** Absolute path of the file. */
  readonly file: string;
  readonly secrets: Secrets;
  /** Noise profiles of the routes that have one. */
  readonly noise: Readonly<Record<string, NoiseProfile>>;
}

export interface Checked {
  readonly ok: boolean;
  readonly problems: readonly Problem[];
  /** Allowed, but probably not meant. */
  readonly warnings: readonly Problem[];
  /** Of a configuration that can be used: what it excuses as noise. */
  readonly noise: Loaded['noise'];
}

const PlaceSchema = ConfigSchema.pick({ admin: true, stateDir: true });

interface Reading {
  readonly config: Config | undefined;
  readonly parts: Parts;
  readonly document: ConfigDocument;
  readonly problems: readonly Problem[];
}

/** Reads a file and the files it names. Throws `ConfigError` with every problem. */
export async function loadConfig(file: string, env: Environment): Promise<Loaded> {
  const { loaded, problems } = await examine(file, env);
  if (loaded === undefined) throw new ConfigError(problems);
  return loaded;
}

/** As `loadConfig`, with doubts, and without throwing for what is wrong in the file. */
export async function checkConfig(file: string, env: Environment): Promise<Checked> {
  const { loaded, problems, warnings } = await examine(file, env);
  return { ok: problems.length === 0, problems, warnings, noise: loaded?.noise ?? {} };
}

/** The configuration in `text`, without looking at the files it names. Throws `ConfigError`. */
export function parseConfig(text: string, file: string, env: Environment): Config {
  const { config, problems } = read(text, file, env);
  if (config === undefined || problems.length > 0) throw new ConfigError(problems);
  return config;
}

/** Where the admin API of a proxy is, and its state folder. */
export type Place = Pick<Config, 'admin' | 'stateDir'>;

/** Those of `text`, whatever else is wrong in it; of what is wrong with them, the defaults. */
export function parsePlace(text: string, file: string, env: Environment): Place {
  const document = readDocument(text, file, env);
  const named = ['admin', 'stateDir'].map(name => [name, valueAt(document.value, [name])]);
  const value = Object.fromEntries(named.filter(([, part]) => part !== undefined));
  const { admin, stateDir } = parse(value, document, PlaceSchema).data ?? PlaceSchema.parse({});
  return { admin, stateDir: resolve(dirname(resolve(file)), stateDir) };
}

interface Examined extends Omit<Checked, 'ok' | 'noise'> {
  readonly loaded?: Loaded;
}

async function examine(file: string, env: Environment): Promise<Examined> {
  const text = await readText(file);
  if (typeof text !== 'string') return { problems: [text], warnings: [] };
  const { config, parts, document, problems: found } = read(text, file, env);
  const secrets = await resolveSecrets(parts, dirname(resolve(file)));
  const noise = await noiseOf(parts, file);
  const elsewhere = [...secrets.problems, ...noise.problems];
  const problems = [...ordered([...found, ...placed(document, elsewhere)]), ...noise.inFiles];
  const readable = document.value !== undefined;
  const doubtful = [...doubts(parts), ...secrets.warnings, ...(await flagDoubts(parts, file))];
  const warnings = readable ? ordered(placed(document, doubtful)) : [];
  if (config === undefined || problems.length > 0) return { problems, warnings };
  const loaded = {
    ...{ config, file: resolve(file), secrets: secrets.secrets },
    noise: freeze(noise.profiles),
  };
  return { problems, warnings, loaded: Object.freeze(loaded) };
}

function read(text: string, file: string, env: Environment): Reading {
  const document = readDocument(text, file, env);
  const { value } = document;
  if (value === undefined) {
    return {
      config: undefined,
      parts: soundParts(undefined),
      document,
      problems: document.problems,
    };
  }
  const parsed = parse(value, document, ConfigSchema);
  const parts = soundParts(value);
  const shows = (path: Path) => document.origin(path) === 'file';
  const issues = parsed.error?.issues ?? [];
  const explained = [
    ...issues.flatMap(issue => explain(issue, value, shows)),
    ...contradictions(parts),
  ];
  return {
    config: parsed.data && freeze(absolutePaths(parsed.data, dirname(resolve(file)))),
    parts,
    document,
    problems: ordered([...document.problems, ...placed(document, explained)]),
  };
}

/** Parses; texts that are one `${VARIABLE}` become the number or boolean that is asked for. */
function parse<S extends z.ZodType>(value: unknown, document: ConfigDocument, schema: S) {
  const first = schema.safeParse(value);
  let changed = false;
  for (const issue of first.error?.issues ?? []) {
    if (issue.code !== 'invalid_type' || document.origin(issue.path) !== 'variable') continue;
    const text = valueAt(value, issue.path);
    const holder = valueAt(value, issue.path.slice(0, -1));
    const last = issue.path.at(-1);
    if (typeof text !== 'string' || last === undefined) continue;
    if (typeof holder !== 'object' || holder === null) continue;
    const better = coerce(text, issue.expected === 'boolean' ? 'boolean' : 'number');
    if (better === undefined) continue;
    changed = Reflect.set(holder, last, better);
  }
  return changed ? schema.safeParse(value) : first;
}

/** Paths in a file are relative to the file, wherever the program was started. */
function absolutePaths(config: Config, folder: string): Config {
  const at = (path: string) => resolve(folder, path);
  const { listen, upstreams, identity, flags } = config;
  const upstream = <U extends Config['upstreams']['legacy']>(side: U) =>
    side.caFile === undefined ? side : { ...side, caFile: at(side.caFile) };
  const { tls } = listen;
  const { verify } = identity;
  return {
    ...config,
    listen: tls
      ? { ...listen, tls: { certFile: at(tls.certFile), keyFile: at(tls.keyFile) } }
      : listen,
    stateDir: at(config.stateDir),
    upstreams: {
      legacy: upstream(upstreams.legacy),
      candidate: upstream(upstreams.candidate),
      ...(upstreams.legacyTwin && { legacyTwin: upstream(upstreams.legacyTwin) }),
    },
    identity: {
      ...identity,
      verify:
        verify === 'unverified'
          ? verify
          : 'secretFile' in verify
            ? { ...verify, secretFile: at(verify.secretFile) }
            : { ...verify, jwksFile: at(verify.jwksFile) },
    },
    routes: config.routes.map(route =>
      route.noise === undefined ? route : { ...route, noise: at(route.noise) },
    ),
    flags: flags.provider === 'file' ? { ...flags, dir: at(flags.dir) } : unleashPaths(flags, at),
  };
}

function unleashPaths(flags: UnleashConfig, at: (path: string) => string): UnleashConfig {
  const { tokenFile, hookTokenFile, backupDir, admin } = flags;
  return {
    ...flags,
    tokenFile: at(tokenFile),
    ...(hookTokenFile === undefined ? {} : { hookTokenFile: at(hookTokenFile) }),
    ...(backupDir === undefined ? {} : { backupDir: at(backupDir) }),
    ...(admin === undefined ? {} : { admin: { ...admin, tokenFile: at(admin.tokenFile) } }),
  };
}

async function readText(file: string): Promise<string | Problem> {
  const whole = (message: string) => ({ file, line: 1, column: 1, field: '', message });
  const content = await readSmall(resolve(file), true);
  if (typeof content === 'string') return whole(`the configuration ${content}`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    // The decoder says no more than this.
    return whole('the configuration is not UTF-8 text');
  }
}

/** The profiles that routes name; problems with a file at its name, and those inside it. */
async function noiseOf({ routes }: Parts, file: string) {
  const folder = dirname(resolve(file));
  const profiles: Record<string, NoiseProfile> = {};
  const problems: Explained[] = [];
  const inFiles: Problem[] = [];
  for (const [index, route] of routes) {
    if (route.noise === undefined) continue;
    const found = await readNoiseFile(resolve(folder, route.noise), dirname(file), route);
    if (typeof found === 'string') {
      problems.push({ path: ['routes', index, 'noise'], message: found });
    } else if ('problems' in found) inFiles.push(...found.problems);
    else profiles[route.name] = found.profile;
  }
  return { profiles, problems, inFiles };
}

/** The folder may be made later, by whoever deploys the flags; until then everybody is on legacy. */
async function flagDoubts(parts: Parts, file: string): Promise<Explained[]> {
  const { flags } = parts;
  if (flags?.provider !== 'file') return [];
  const path = resolve(dirname(resolve(file)), flags.dir);
  const found = await stat(path).then(
    stats => stats.isDirectory(),
    () => false,
  );
  const message = `there is no such folder: ${path}; until it is there, legacy serves everybody`;
  return found ? [] : [{ path: ['flags', 'dir'], message }];
}

/** Whatever is wrong with a field whose variable is missing is only a consequence, and left out. */
function placed(document: ConfigDocument, explained: readonly Explained[]): Problem[] {
  const known = new Set(document.problems.map(({ field }) => field).filter(field => field !== ''));
  return explained
    .map(({ path, message, onKey }) => document.problem(path, message, onKey))
    .filter(({ field }) => !known.has(field));
}

function ordered(problems: readonly Problem[]): Problem[] {
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freeze(inner);
    Object.freeze(value);
  }
  return value;
}
