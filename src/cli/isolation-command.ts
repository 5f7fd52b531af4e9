// `cutover isolation`: whether anybody was sent another user's data, and what would be found in an event.
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import type { ShownIncident } from '../control/incident-evidence.ts';
import type { IsolationView } from '../control/isolation-view.ts';
import { compileRules } from '../rules/compare/compile.ts';
import { DEFAULT_RULES } from '../rules/compare/rules.ts';
import { type Explanation, explainEvent } from '../rules/isolation/explain.ts';
import { Recipient } from '../rules/isolation/recipient.ts';
import { DEFAULT_ISOLATION, Isolation } from '../rules/isolation/rules.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure } from './failure.ts';
import { readConfig, readConfigIfThere } from './local-config.ts';
import { paint, plain, print, table } from './output.ts';

const HELP = `
An event is contaminated if a field that says whom it is for names another user, if it carries an
identifier or a content that legacy sent another user alone, or a marker that was planted for another.

Examples:
  cutover isolation status
  cutover isolation incidents --limit 50
  cutover isolation explain event.json --user user_1001 --route events`;

const STATUS_HELP = `
mode: what is done about another user's data where that side serves (observe, sanitize, block).
routing fields: fields that say whom an event is for, of all that is compared and of what legacy sends
others; foreign: those that name another user; on both: events that both services sent so, which accuses
neither. contaminated: events with another user's data, by the rule that told.`;

const INCIDENTS_HELP = `
user got the event, or was to; owner is whose data it is. Both are pseudonyms, as in evidence: cutover
evidence show N has the event, where evidence is N and the number of the example. session is for
cutover status --session, while it is open, and for the log. in doubt: legacy may have sent the same and
was not heard; nobody is accused of it, and it takes nobody back.`;

const EXPLAIN_HELP = `
Says rule by rule what is found in one event that is on its way to a user. Reads the route's rules from
the configuration, and asks no proxy. Ends with 1 if the event is contaminated. Of what can not be looked
into it says "uninspectable", which is neither: see what it says for each rule.

Examples:
  cutover isolation explain event.json --user user_1001
  cutover isolation explain event.json --user user_1001 --alias ann@example.com --json
  cutover isolation explain data.json --user user_1001 --route sse --type message_receipt
  cutover isolation explain body.json --user user_1001 --route api --type "GET 2xx"`;

/** Where there is no configuration: what a route has that says nothing else. */
const UNCONFIGURED = {
  ...{ isolation: DEFAULT_ISOLATION, compare: DEFAULT_RULES },
  protocol: 'websocket',
} as const;

type RouteIsolation = IsolationView & { readonly route: string };

interface Incidents {
  readonly unkept: number;
  readonly incidents: readonly ShownIncident[];
}

interface ExplainOptions {
  readonly user: string;
  readonly alias: readonly string[];
  readonly route?: string;
  readonly type?: string;
  readonly config?: string;
  readonly json?: boolean;
}

export function isolationCommand(): Command {
  return new Command('isolation')
    .description("show whether anybody was sent another user's data")
    .addHelpText('after', HELP)
    .addCommand(
      remoteCommand('status')
        .description('show what was looked at and found, route by route')
        .addHelpText('after', STATUS_HELP)
        .action(async (options: AdminPlace) => {
          const admin = await connectAdmin(options);
          const found = await admin.get<{ routes: readonly RouteIsolation[] }>('/isolation');
          print(found, options.json ?? false, ({ routes }) => statusText(routes));
        }),
    )
    .addCommand(
      remoteCommand('incidents')
        .description('list the last incidents, newest first')
        .option('--limit <n>', 'how many, 1000 at most (default: 20)')
        .addHelpText('after', INCIDENTS_HELP)
        .action(async (options: AdminPlace & { limit?: string }) => {
          const { limit, json = false } = options;
          const admin = await connectAdmin(options);
          print(await admin.get<Incidents>('/incidents', { limit }), json, incidentsText);
        }),
    )
    .addCommand(
      new Command('explain')
        .description('say what is found in an event, and why')
        .argument('<file>', 'one event as it would be sent: a message, data of a stream, a body')
        .requiredOption('--user <id>', 'whom it is sent to')
        .option('--alias <name>', 'another name of his; several times', collect, [])
        .option('--route <name>', 'whose rules count (default: the first route)')
        .option('--type <name>', "what the stream's event: says; of an answer, GET 2xx")
        .option('--config <file>', 'configuration (default: cutover.yaml if it is there)')
        .option('--json', 'print JSON')
        .addHelpText('after', EXPLAIN_HELP)
        .action(runExplain),
    );
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

async function runExplain(file: string, options: ExplainOptions): Promise<void> {
  const { user, alias, json = false } = options;
  const payload = await readEvent(file);
  const { isolation, compare, protocol } = await rulesOf(options);
  const explained = explainEvent(
    new Isolation(isolation),
    compileRules(compare),
    new Recipient({ id: user, aliases: alias }),
    payload,
    parsed(payload),
    { protocol, type: options.type },
  );
  print(explained, json, explainedText);
  if (explained.says === 'contaminated') {
    throw new CommandFailure(1, 'this event is contaminated for this user');
  }
}

async function readEvent(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new CommandFailure(2, `${file} can not be read`, error);
  }
}

async function rulesOf({ config, route, type }: ExplainOptions) {
  const read = config === undefined ? await readConfigIfThere(config) : await readConfig(config);
  if (read === null) {
    if (route === undefined) return UNCONFIGURED;
    throw new CommandFailure(2, 'there is no cutover.yaml here; name one with --config');
  }
  const found = read.routes.find(({ name }) => route === undefined || name === route);
  if (found !== undefined && type !== undefined && found.protocol === 'websocket') {
    const what = `messages of "${found.name}", a WebSocket, have no type but their own`;
    throw new CommandFailure(2, `${what}; --type is for streams and answers`);
  }
  if (found !== undefined) return found;
  const known = read.routes.map(({ name }) => name).join(', ');
  throw new CommandFailure(2, `there is no route "${route}"; routes are ${known}`);
}

function parsed(payload: Buffer): unknown {
  try {
    // A byte order mark is none of it.
    return JSON.parse(payload.toString('utf8').replace(/^\uFEFF/, ''));
  } catch {
    // Told as what can not be looked into.
    return undefined;
  }
}

function explainedText({ eventType, says, scan, rules }: Explanation): string {
  const colour = says === 'clean' ? 'green' : 'red';
  const type = eventType === '' ? 'an event without a type' : plain(eventType);
  const bytes = scan === 'clean' ? 'its bytes show no foreign address' : 'it has to be parsed';
  const looked = says === 'uninspectable' ? 'not all of it can be looked into' : bytes;
  const rows = rules.map(({ rule, path, says: what, why }) => [
    rule,
    path === '' ? '-' : plain(path),
    what === 'contaminated' ? paint('red', what) : what,
    why,
  ]);
  const open = new Set(rules.filter(({ says: what }) => what === 'open').map(({ rule }) => rule));
  const isOpen = says === 'clean' && open.size > 0;
  return [
    `${type}: ${paint(colour, isOpen ? 'clean by itself' : says)} (${looked})`,
    ...(isOpen ? [`${[...open].join(' and ')}: what legacy sends to whom decides`] : []),
    '',
    table(['rule', 'path', 'says', 'why'], rows),
  ].join('\n');
}

function statusText(routes: readonly RouteIsolation[]): string {
  const head = ['route', 'side', 'mode', 'routing fields', 'foreign', 'on both', 'contaminated'];
  const rows = routes.flatMap(({ route, modes, sides }) =>
    (['legacy', 'candidate'] as const).map(side => {
      const { fields, foreign, onBoth, contaminated } = sides[side];
      const found = Object.entries(contaminated).map(([rule, count]) => `${rule} ${count}`);
      const counts = [fields, foreign, onBoth].map(String);
      const told = found.length === 0 ? '0' : paint('red', found.join(', '));
      return [plain(route), side, modes[side], ...counts, told];
    }),
  );
  const lines = [table(head, rows)];
  lines.push(
    'mode where that side serves; for a user the isolation flag may say otherwise (cutover explain)',
  );
  for (const { route, contaminated } of routes) {
    for (const { side, rule, outcome, count } of contaminated) {
      lines.push(`${plain(route)}: ${count} of ${side} by ${rule}, ${outcome}`);
    }
  }
  for (const { route, shared } of routes) {
    for (const { eventType, path, count, prevented } of shared) {
      const what = `${count} of ${eventType || 'no type'} name others at ${path || 'several places'}`;
      const become = `${prevented} were rewritten or withheld`;
      lines.push(plain(`${route}: ${what} in both services' events; ${become}`));
    }
  }
  for (const { route, sides } of routes) {
    for (const side of ['legacy', 'candidate'] as const) {
      const { uninspectable, crowded, inDoubt } = sides[side];
      const what =
        'name others in doubt: asked for unreadably, or legacy called it unchanged or was not heard';
      if (inDoubt > 0) lines.push(plain(`${route}: ${inDoubt} of ${side} ${what}`));
      for (const [because, count] of Object.entries(uninspectable))
        lines.push(`${plain(route)}: ${count} of ${side} not looked into, ${because}`);
      for (const [because, count] of Object.entries(crowded))
        lines.push(
          paint('yellow', `${plain(route)}: ${count} of ${side} too many at a time, ${because}`),
        );
    }
  }
  for (const { route, identityMismatch } of routes) {
    if (!identityMismatch) continue;
    const what = `${plain(route)}: identity-mismatch, addresses in legacy's own events do not fit its users`;
    lines.push(paint('yellow', `warning: ${what}`));
  }
  return lines.join('\n');
}

function incidentsText({ incidents, unkept }: Incidents): string {
  const head = ['seq', 'at', 'route', 'side', 'rule', 'path', 'type', 'outcome'];
  const rows = incidents.map(each =>
    [
      ...[String(each.seq), each.at, each.route, each.side, each.rule, each.path || '-'],
      ...[each.eventType || '-', `${each.outcome}${each.inDoubt ? ', in doubt' : ''}`],
    ].map(plain),
  );
  // Names are long: in a line of their own they fit a terminal.
  const [titles = '', ...first] = table(head, rows).split('\n');
  const told = incidents.flatMap((each, i) => [first[i] ?? '', `     ${namesText(each)}`]);
  const lines = rows.length === 0 ? ['no incidents'] : [titles, ...told];
  if (unkept > 0) lines.push(paint('yellow', `counted and not on record: ${unkept}`));
  return lines.join('\n');
}

function namesText({ user, owner, session, evidence }: ShownIncident): string {
  const kept = evidence === null ? '-' : `${evidence.group} #${evidence.example}`;
  const names = { user, owner: owner ?? '-', session, evidence: kept };
  return Object.entries(names)
    .map(([name, value]) => `${paint('dim', name)} ${plain(value)}`)
    .join('  ');
}
