// `cutover broadcaster legacy|ssot`: one reference service as a process of its own.
import { readFileSync } from 'node:fs';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import type { JSONWebKeySet } from 'jose';
import type { Keys } from './credentials.ts';
import { isRecord } from './event.ts';
import { addFault, FAULTS, type FaultSetting } from './fault.ts';
import { LEGACY_ENTRIES, type LegacyEntry } from './legacy/entry.ts';
import { isQuirk, QUIRKS, type Quirk } from './quirks.ts';
import { startBroadcaster } from './server.ts';
import type { BroadcasterKind } from './side.ts';

/** Told apart from an ordinary end by whoever watches the process (EX_SOFTWARE of sysexits). */
const CRASH_EXIT_CODE = 70;

interface Flags {
  readonly host: string;
  readonly port: number;
  readonly secretFile?: string;
  readonly jwksFile?: string;
  readonly entry: LegacyEntry;
  readonly fault: readonly FaultSetting[];
  readonly seed: number;
  readonly jitter: number;
  readonly quirk: readonly Quirk[];
  readonly truth?: string;
}

export function broadcasterCommand(): Command {
  return new Command('broadcaster')
    .description('run one of the two reference services')
    .addArgument(new Argument('<kind>', 'which service').choices(['legacy', 'ssot']))
    .option('--host <host>', 'address to listen on', '127.0.0.1')
    .option('--port <port>', 'port to listen on; 0 takes a free one', wholeNumber(65_535), 0)
    .option('--secret-file <file>', 'HS256 secret that tokens are signed with')
    .addOption(new Option('--jwks-file <file>', 'key set (JSON)').conflicts('secretFile'))
    .addOption(
      new Option('--entry <entry>', 'legacy implementation that serves')
        .choices([...LEGACY_ENTRIES])
        .default('singleton'),
    )
    .option(
      '--fault <name[:rate]>',
      `plant faults, at most one a run; several allowed: ${FAULTS.join(', ')}`,
      addFault,
      [],
    )
    .option('--seed <number>', 'decides which events are hit', wholeNumber(2 ** 32), 1)
    .option('--jitter <ms>', 'hold every frame up to so long, in order', wholeNumber(60_000), 0)
    .option(
      '--quirk <name>',
      `behave as the first SSOT service did; several allowed: ${Object.keys(QUIRKS).join(', ')}`,
      addQuirk,
      [],
    )
    .option('--truth <file>', 'append every planted fault to this file, one JSON object a line')
    .action((kind: BroadcasterKind, flags: Flags, command: Command) => run(kind, flags, command));
}

async function run(kind: BroadcasterKind, flags: Flags, command: Command): Promise<void> {
  if (kind === 'legacy' && flags.quirk.length > 0) {
    command.error('error: --quirk belongs to ssot');
  }
  if (flags.truth !== undefined && flags.fault.length === 0) {
    command.error('error: --truth is where planted faults are written: name one by --fault');
  }
  if (kind === 'ssot' && flags.entry !== 'singleton') {
    command.error('error: --entry belongs to legacy');
  }
  const service = await startBroadcaster({
    kind,
    host: flags.host,
    port: flags.port,
    keys: readKeys(flags, command),
    entry: flags.entry,
    ...(flags.fault.length > 0 ? { faults: flags.fault } : {}),
    seed: flags.seed,
    jitterMs: flags.jitter,
    truthFile: flags.truth,
    quirks: flags.quirk,
    onCrash: () => process.exit(CRASH_EXIT_CODE),
  }).catch((error: unknown) => command.error(`error: ${sentence(error)}`));
  console.log(`${kind} broadcaster: ${service.url}`);
  const signal = await new Promise<NodeJS.Signals>(settle => {
    process.once('SIGINT', settle);
    process.once('SIGTERM', settle);
  });
  await service.close();
  console.log(`${kind} broadcaster: ended by ${signal}`);
}

function readKeys(flags: Flags, command: Command): Keys {
  const file = flags.secretFile ?? flags.jwksFile;
  if (file === undefined) command.error('error: --secret-file or --jwks-file is needed');
  let text = '';
  try {
    text = readFileSync(file, 'utf8').trim();
  } catch (error) {
    command.error(`error: ${sentence(error)}`);
  }
  if (flags.secretFile !== undefined) {
    if (text === '') command.error(`error: ${file} is empty; a secret is needed`);
    return { secret: text };
  }
  const jwks = keySet(text);
  if (jwks === undefined) command.error(`error: ${file} is no JSON Web Key Set (RFC 7517)`);
  return { jwks };
}

function keySet(text: string): JSONWebKeySet | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isKeySet(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isKeySet(value: unknown): value is JSONWebKeySet {
  return isRecord(value) && Array.isArray(value.keys) && value.keys.every(isRecord);
}

function wholeNumber(most: number): (text: string) => number {
  return text => {
    if (!/^\d+$/.test(text) || Number(text) > most) {
      throw new InvalidArgumentError(`It must be a whole number from 0 to ${most}.`);
    }
    return Number(text);
  };
}

function addQuirk(name: string, before: readonly Quirk[]): readonly Quirk[] {
  if (isQuirk(name)) return [...before, name];
  throw new InvalidArgumentError(`Quirks are ${Object.keys(QUIRKS).join(', ')}.`);
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
