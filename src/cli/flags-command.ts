// `cutover flags`: what the flags are, what is wrong with them, and where they go.
import { join } from 'node:path';
import { Command } from 'commander';
import { type Config, flagName, type RouteConfig } from '../config/schema.ts';
import type { ListedFlag } from '../control/flag-list.ts';
import type { FlagNames, FlagProblem } from '../rules/flag-problem.ts';
import type { FeatureLike } from '../rules/flag-shape.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { pullCommand, pushCommand } from './flag-server-commands.ts';
import { readConfigIfThere } from './local-config.ts';
import { paint, plain, print, table } from './output.ts';

const DEFAULT_DIR = 'flags';
const ROLES = ['serve', 'shadow', 'kill', 'isolation'] as const;

const LINT_HELP = `
Reads the files itself; no proxy needs to run. Routes and names of flags come from the configuration,
or without one from flags named <route>.serve, .shadow, .kill and .isolation.
Ends with 1 if there is an error, with 0 for warnings alone.

Examples:
  cutover flags lint
  cutover flags lint deploy/flags --json`;

export function flagsCommand(): Command {
  const list = remoteCommand('list')
    .description('list the flags that a running proxy decides by')
    .action(async (options: AdminPlace) => {
      const admin = await connectAdmin(options);
      print(await admin.get<Listing>('/flags'), options.json ?? false, listText);
    });
  const lint = new Command('lint')
    .description(
      'check flag files: whether they can be read, and whether they mean what they seem to',
    )
    .argument(
      '[dir]',
      `folder of flag files (default: flags.dir of the configuration, else ${DEFAULT_DIR})`,
    )
    .option('--config <file>', 'configuration that names the routes (default: cutover.yaml)')
    .option('--json', 'print the problems as JSON')
    .addHelpText('after', LINT_HELP)
    .action(runLint);
  return new Command('flags')
    .description('list or check the feature flags, or take them to or from an Unleash server')
    .addCommand(list)
    .addCommand(lint)
    .addCommand(pullCommand())
    .addCommand(pushCommand());
}

interface Listing {
  readonly revision: string;
  readonly flags: readonly ListedFlag[];
}

interface Lint {
  readonly dir: string;
  readonly revision: string;
  readonly flags: number;
  readonly problems: readonly FlagProblem[];
}

async function runLint(
  dir: string | undefined,
  { config: file, json = false }: { config?: string; json?: boolean },
): Promise<void> {
  const config = await readConfigIfThere(file);
  const found = await lint(dir ?? folderOf(config) ?? DEFAULT_DIR, config?.routes ?? null);
  print(found, json, lintText);
  if (found.problems.some(({ level }) => level === 'error')) process.exitCode = 1;
}

function folderOf(config: Config | null): string | undefined {
  return config?.flags.provider === 'file' ? config.flags.dir : undefined;
}

async function lint(dir: string, routes: readonly RouteConfig[] | null): Promise<Lint> {
  // Loaded here: the commands that ask a running proxy start faster without it.
  const [{ readFlagFolder }, { lintFlags }] = await Promise.all([
    import('../control/flags/flag-folder.ts'),
    import('../rules/flag-lint.ts'),
  ]);
  const read = await readFlagFolder(dir, Date.now);
  if ('problems' in read) return { dir, revision: 'none', flags: 0, problems: read.problems };
  const { features, fileOf, revision } = read.content.set;
  const names = routes === null ? guessedNames(features) : routes.map(namesOf);
  const problems = lintFlags(features, names).map(problem => ({
    ...problem,
    file: problem.flag === null ? undefined : fileOf.get(problem.flag),
  }));
  return { dir, revision, flags: features.length, problems };
}

function namesOf(route: RouteConfig): FlagNames {
  return {
    route: route.name,
    serve: flagName(route, 'serve'),
    shadow: flagName(route, 'shadow'),
    kill: flagName(route, 'kill'),
    isolation: flagName(route, 'isolation'),
  };
}

function guessedNames(features: readonly FeatureLike[]): FlagNames[] {
  const routes = new Set<string>();
  for (const { name } of features) {
    const dot = name.lastIndexOf('.');
    if (dot > 0 && ROLES.some(role => role === name.slice(dot + 1))) routes.add(name.slice(0, dot));
  }
  return [...routes].map(route => ({
    route,
    serve: `${route}.serve`,
    shadow: `${route}.shadow`,
    kill: `${route}.kill`,
    isolation: `${route}.isolation`,
  }));
}

function lintText({ dir, flags, problems, revision }: Lint): string {
  const lines = problems.flatMap(({ level, flag, file, path, message, fix }) => {
    const place = [
      file === undefined ? undefined : join(dir, file),
      flag ?? undefined,
      path || undefined,
    ];
    const where = place
      .filter(part => part !== undefined)
      .map(plain)
      .join(' ');
    return [
      `${paint(level === 'error' ? 'red' : 'yellow', level)} ${where}: ${plain(message)}`,
      `  ${plain(fix)}`,
    ];
  });
  const errors = problems.filter(({ level }) => level === 'error').length;
  const count = `${errors} errors, ${problems.length - errors} warnings`;
  return [...lines, `${dir}: ${flags} flags, ${count} (${revision})`].join('\n');
}

function listText({ flags, revision }: Listing): string {
  const rows = flags.map(({ name, enabled, routes, role, percent, pins, description }) => [
    plain(name),
    enabled ? 'on' : 'off',
    role === null ? '-' : `${role} of ${routes.join(', ')}`,
    percent === null ? '-' : `${percent}%`,
    pins === 0 ? '-' : String(pins),
    plain(description),
  ]);
  const head = ['flag', 'is', 'for', 'reaches', 'pins', 'description'];
  return `${table(head, rows)}\n\n${flags.length} flags, ${revision}`;
}
