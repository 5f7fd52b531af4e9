// `cutover flags pull` and `push`: flags between files and an Unleash server.
import { randomUUID } from 'node:crypto';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { type Config, flagName, type UnleashConfig } from '../config/schema.ts';
import { readSmall } from '../config/secrets.ts';
import type { Creation } from '../control/flags/unleash-admin.ts';
import { initialFlags } from '../rules/flag-defaults.ts';
import { CommandFailure } from './failure.ts';
import { DEFAULT_CONFIG, readConfig, readConfigIfThere } from './local-config.ts';
import { putOnRecord } from './on-record.ts';
import { paint, plain, print, table } from './output.ts';

/** Its name in a folder of flag files; a later pull replaces it. */
const PULLED_FILE = 'unleash.json';
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;

const PULL_HELP = `
What is pulled is checked as flag files are; a set with an invalid flag is refused.

Examples:
  cutover flags pull > flags.json
  cutover flags pull --out flags      writes flags/${PULLED_FILE}, for provider: file
  cutover flags pull --url https://unleash.example.com --token-file client.token`;

const PUSH_HELP = `
Creates the four flags of every route of the configuration, as a migration begins: legacy serves
everybody. A flag that is there and on, or has a strategy, is left as it is, so it can be run again.

Examples:
  cutover flags push --dry-run
  cutover flags push --url https://unleash.example.com --token-file admin.token`;

interface ServerPlace {
  readonly url?: string;
  readonly tokenFile?: string;
  readonly project?: string;
  readonly config?: string;
  readonly json?: boolean;
}

export function pullCommand(): Command {
  return serverCommand('pull', 'client token')
    .description('fetch all flags from an Unleash server, as a flag file')
    .option('--out <dir>', `write ${PULLED_FILE} into this folder (default: print)`)
    .addHelpText('after', PULL_HELP)
    .action(pull);
}

export function pushCommand(): Command {
  return serverCommand('push', 'admin token')
    .description("create the routes' flags in an Unleash server, where they are missing")
    .option('--environment <name>', 'environment to create them in (default: development)')
    .option('--dry-run', 'tell what would be done, and do nothing')
    .option('--reason <text>', 'why, for the audit trail')
    .option('--json', 'print the outcome as JSON')
    .addHelpText('after', PUSH_HELP)
    .action(push);
}

function serverCommand(name: string, token: string): Command {
  return new Command(name)
    .option('--url <url>', "the server's address (else flags.url of the configuration)")
    .option('--token-file <file>', `file with its ${token} (else as the configuration says)`)
    .option('--project <name>', 'project in Unleash')
    .option('--config <file>', `configuration (default: ${DEFAULT_CONFIG})`);
}

async function pull(options: ServerPlace & { out?: string }): Promise<void> {
  const unleash = unleashOf(await configFor(options));
  const url = addressOf(options.url ?? unleash?.url);
  const token = await tokenIn(options.tokenFile ?? unleash?.tokenFile, '--token-file');
  const { fetchFlags } = await import('../control/flags/unleash-fetch.ts');
  const fetched = await fetchFlags(
    {
      url,
      token,
      appName: unleash?.appName ?? 'cutover',
      project: options.project ?? unleash?.project,
      pollMs: 0,
      timeoutMs: unleash?.timeoutMs ?? TIMEOUT_MS,
      maxBytes: unleash?.maxBytes ?? MAX_BYTES,
    },
    { instanceId: `cutover-pull-${process.pid}`, connectionId: randomUUID() },
    null,
  );
  if ('problems' in fetched) {
    const [problem] = fetched.problems;
    const flag = problem?.flag == null ? '' : `flag ${plain(problem.flag)}: `;
    throw new CommandFailure(1, `${url}: ${flag}${plain(problem?.message ?? '')}`);
  }
  if (fetched.outcome === 'unchanged') throw new CommandFailure(1, `${url} sent no flags`);
  const text = `${JSON.stringify(fetched.document, null, 2)}\n`;
  if (options.out === undefined) {
    process.stdout.write(text);
    return;
  }
  await write(options.out, text, new Set(fetched.document.features.map(({ name }) => name)));
  const count = fetched.document.features.length;
  process.stdout.write(`wrote ${join(options.out, PULLED_FILE)}, ${count} flags\n`);
}

/** The folder must stay one that can be read: no flag in two files. */
async function write(dir: string, text: string, names: ReadonlySet<string>): Promise<void> {
  const [{ readFlagFolder }, { writeFlagFiles }] = await Promise.all([
    import('../control/flags/flag-folder.ts'),
    import('../control/flags/flag-write.ts'),
  ]);
  const isNew = await stat(dir).then(
    () => false,
    () => true,
  );
  if (isNew) await mkdir(dir, { recursive: true });
  const read = await readFlagFolder(dir, Date.now);
  for (const [file, { features }] of 'content' in read ? read.content.documents : []) {
    const twice = file === PULLED_FILE ? undefined : features.find(({ name }) => names.has(name));
    if (twice === undefined) continue;
    const message = `${join(dir, file)} has the flag ${plain(twice.name)} too; move that file away, or pull into another folder`;
    throw new CommandFailure(1, message);
  }
  await writeFlagFiles(dir, [{ file: PULLED_FILE, text }], async () => true);
}

interface Pushed {
  readonly url: string;
  readonly project: string;
  readonly environment: string;
  readonly dryRun: boolean;
  readonly flags: readonly { readonly name: string; readonly result: Creation }[];
}

async function push(
  options: ServerPlace & { environment?: string; dryRun?: boolean; reason?: string },
): Promise<void> {
  const config = await readConfig(options.config ?? DEFAULT_CONFIG);
  const unleash = unleashOf(config);
  const url = addressOf(options.url ?? unleash?.url);
  const file = options.tokenFile ?? unleash?.admin?.tokenFile;
  const token = await tokenIn(file, '--token-file (a token that may change flags)');
  const project = options.project ?? unleash?.admin?.project ?? 'default';
  const environment = options.environment ?? unleash?.admin?.environment ?? 'development';
  const { dryRun = false, json = false, reason } = options;
  const { UnleashAdmin } = await import('../control/flags/unleash-admin.ts');
  const timeoutMs = unleash?.timeoutMs ?? TIMEOUT_MS;
  const admin = new UnleashAdmin({ url, token: () => token, project, environment, timeoutMs });
  const flags: { name: string; result: Creation }[] = [];
  const features = [...productFlags(config)];
  if (!dryRun) {
    const details = { url, project, environment, flags: features.map(({ name }) => name) };
    const where = options.config === undefined ? {} : { config: options.config };
    await putOnRecord({ action: 'flags-push', reason, details }, config, where);
  }
  for (const feature of features) {
    const { name } = feature;
    flags.push({ name, result: dryRun ? await admin.look(name) : await admin.add(feature) });
  }
  print({ url, project, environment, dryRun, flags }, json, pushText);
}

/** Each once: routes may share flags. */
function productFlags({ routes }: Config) {
  const features = routes.flatMap(route =>
    initialFlags({
      route: route.name,
      serve: flagName(route, 'serve'),
      shadow: flagName(route, 'shadow'),
      kill: flagName(route, 'kill'),
      isolation: flagName(route, 'isolation'),
    }),
  );
  return new Map(features.map(feature => [feature.name, feature])).values();
}

function pushText({ url, project, environment, dryRun, flags }: Pushed): string {
  const words: Record<Creation, string> = dryRun
    ? { created: 'would be created', completed: 'would get its strategy', kept: 'stays as it is' }
    : { created: 'created', completed: 'got its strategy', kept: 'stays as it is' };
  const rows = flags.map(({ name, result }) => [plain(name), words[result]]);
  const where = paint('dim', `${url}, project ${project}, environment ${environment}`);
  return `${table([], rows)}\n${where}${dryRun ? '\ndry run: nothing was changed' : ''}`;
}

/** Only where something is left to look up there. */
async function configFor({ url, tokenFile, config }: ServerPlace): Promise<Config | null> {
  if (config === undefined && url !== undefined && tokenFile !== undefined) return null;
  return readConfigIfThere(config);
}

function unleashOf(config: Config | null): UnleashConfig | null {
  return config?.flags.provider === 'unleash' ? config.flags : null;
}

function addressOf(text: string | undefined): string {
  const url = text === undefined ? null : URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === '') {
    return url.href.replace(/\/+$/, '');
  }
  const message =
    text === undefined
      ? 'no Unleash server is configured (flags.provider: unleash); name one with --url'
      : `${JSON.stringify(text)} is no address of a server; write it as https://unleash.example.com`;
  throw new CommandFailure(2, message);
}

async function tokenIn(file: string | undefined, option: string): Promise<string> {
  if (file === undefined) {
    throw new CommandFailure(2, `the configuration names no token file; name it with ${option}`);
  }
  const content = await readSmall(file);
  if (typeof content === 'string') throw new CommandFailure(2, `--token-file ${content}`);
  const token = content.toString('latin1').trim();
  if (/^[\x21-\x7e]{1,1024}$/.test(token)) return token;
  throw new CommandFailure(2, `${file} holds no token`);
}
