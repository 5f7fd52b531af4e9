// `cutover explain`: why a user is served by one side, asked of a running proxy or of flag files.
import type { Command } from 'commander';
import { ConfigSchema, type RouteConfig } from '../config/schema.ts';
import type { Explanation } from '../control/explanation.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure } from './failure.ts';
import { readConfigIfThere } from './local-config.ts';
import { duration, paint, plain, print, table, untilText } from './output.ts';

const HELP = `
Without --user it is about somebody who names himself not. With --flags the files of a folder are
asked, by the same rules, and no proxy needs to run.

Examples:
  cutover explain --user user-4711 --route events
  cutover explain --user user-4711 --route events --flags ./flags`;

interface ExplainOptions extends AdminPlace {
  readonly user?: string;
  readonly route: string;
  readonly flags?: string;
}

export function explainCommand(): Command {
  return remoteCommand('explain')
    .description('tell who serves a user on a route, and why')
    .requiredOption('--route <name>', 'the route')
    .option('--user <id>', 'the user, as the credential names him')
    .option('--flags <dir>', 'ask the flag files in this folder instead of a running proxy')
    .addHelpText('after', HELP)
    .action(async (options: ExplainOptions) => {
      const explanation =
        options.flags === undefined ? await ask(options) : await askFiles(options, options.flags);
      print(explanation, options.json ?? false, explanationText);
    });
}

async function ask(options: ExplainOptions): Promise<Explanation> {
  const { user, route } = options;
  const admin = await connectAdmin(options);
  return admin.get<Explanation>('/explain', { user, route });
}

async function askFiles(options: ExplainOptions, dir: string): Promise<Explanation> {
  const [{ pino }, { openFileFlags }, { createDecider }, { explain }] = await Promise.all([
    import('pino'),
    import('../control/flags/provider.ts'),
    import('../control/decider.ts'),
    import('../control/explanation.ts'),
  ]);
  const route = await routeNamed(options.route, options.config);
  const logger = pino({ level: 'silent' });
  const flags = await openFileFlags({ dir, routes: () => [route], logger });
  try {
    if (flags.loadedAt === null) {
      const [problem] = flags.problems();
      const where = problem?.file === undefined ? '' : `${problem.file}: `;
      const message = `the flags in ${dir} can not be read: ${where}${problem?.message ?? 'unknown'}`;
      throw new CommandFailure(1, message);
    }
    return explain({ flags, decide: createDecider(flags) }, route, options.user ?? null);
  } finally {
    await flags.close();
  }
}

/** The route as configured; where no configuration is at hand, one with the default names of flags. */
async function routeNamed(name: string, file: string | undefined): Promise<RouteConfig> {
  const config = await readConfigIfThere(file);
  const found = config?.routes.find(route => route.name === name);
  if (found !== undefined) return found;
  if (config !== null) {
    const known = config.routes.map(route => route.name).join(', ');
    throw new CommandFailure(1, `there is no route ${JSON.stringify(name)}; routes are ${known}`);
  }
  const route = { name, path: '/', protocol: 'websocket' };
  const { data } = ConfigSchema.shape.routes.element.safeParse(route);
  if (data !== undefined) return data;
  throw new CommandFailure(1, `${JSON.stringify(name)} can not be the name of a route`);
}

function explanationText(explanation: Explanation): string {
  const { user, route, decision, reason, sentence, pin, stage, flags } = explanation;
  const who = user === null ? 'somebody anonymous' : plain(user);
  const second =
    decision.second === null ? 'alone' : `${decision.second.side} as ${decision.second.role}`;
  const answers = [flags.serve, flags.shadow, flags.kill, flags.isolation].map(
    ({ name, says }): [string, string] => [plain(name), answerText(says)],
  );
  return [
    `${who} on ${route}: ${paint('bold', decision.primary)}, ${second}`,
    `because ${sentence} (${reason})`,
    '',
    table(
      [],
      [
        ['stage', stage.text],
        ...(pin === null
          ? []
          : [['pin', `${pin.side}, ${untilText(pin.until)} (${plain(pin.flag)})`]]),
        ['writes to', decision.writeTo],
        ['isolation', decision.isolation],
        [
          'flags',
          `${flags.revision}${flags.ageMs === null ? '' : `, read ${duration(flags.ageMs / 1_000)} ago`}`,
        ],
        ...answers.map(([name, says]) => [`  ${name}`, says]),
      ],
    ),
  ].join('\n');
}

function answerText(says: string | boolean | null): string {
  if (says === null) return '-';
  return typeof says === 'string' ? says : says ? 'on' : 'off';
}
