// `cutover pin` and `cutover unpin`: a tester is put on one side for a while, by a constraint in the
// serve flag.
import type { Command } from 'commander';
import type { ListedPins, Pinned, PinnedFlag, Unpinned } from '../control/pins.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure, NOT_UNDERSTOOD } from './failure.ts';
import { paint, plain, print, table, untilText } from './output.ts';

/** As long as a test lasts; whoever needs longer says so. */
const DEFAULT_TIME = '1h';

const PIN_HELP = `
USER is the name in the credential, as \`cutover explain\` takes it. Alone, the command lists the pins.
A pin is a strategy in the route's serve flag (userId IN, currentTime DATE_BEFORE), in the flag files or
in Unleash; it holds for every route that reads the flag, stages leave it alone, and nobody else moves.
Kill flag and bypass come before it. When its time is over it does nothing, and the next change of the
flag removes it. A new pin of the same user takes the place of the old one.

Examples:
  cutover pin user-4711 candidate                 for ${DEFAULT_TIME}
  cutover pin user-4711 legacy --for 2d --route events
  cutover pin                                     who is pinned?
  cutover unpin user-4711`;

const UNPIN_HELP = `
Takes the user out of every strategy that does nothing but pin, whoever wrote it.

Examples:
  cutover unpin user-4711
  cutover unpin user-4711 --route events`;

interface PinOptions extends AdminPlace {
  readonly for: string;
  readonly route?: string;
  readonly reason?: string;
}

interface Listing {
  readonly revision: string;
  readonly flags: readonly ListedPins[];
}

export function pinCommand(): Command {
  return remoteCommand('pin')
    .description('put one user on a side for a time, in the flag files or in Unleash; or list pins')
    .argument('[user]', 'the user, as the credential names him')
    .argument('[side]', 'legacy or candidate')
    .option('--for <time>', 'such as 30m, 1h, 2d; at most 30d', DEFAULT_TIME)
    .option('--route <name>', 'the flag of this route alone (default: those of all routes)')
    .option('--reason <text>', 'why, for the audit trail')
    .addHelpText('after', PIN_HELP)
    .action(runPin);
}

export function unpinCommand(): Command {
  return remoteCommand('unpin')
    .description('let the shares decide about a user again')
    .argument('<user>', 'the user, as the credential names him')
    .option('--route <name>', 'the flag of this route alone (default: those of all routes)')
    .option('--reason <text>', 'why, for the audit trail')
    .addHelpText('after', UNPIN_HELP)
    .action(async (user: string, options: AdminPlace & { route?: string; reason?: string }) => {
      const { route, reason, json = false } = options;
      const admin = await connectAdmin(options);
      print(await admin.post<Unpinned>('/unpin', { user, route, reason }), json, unpinnedText);
    });
}

async function runPin(
  user: string | undefined,
  side: string | undefined,
  options: PinOptions,
): Promise<void> {
  const { route, reason, json = false } = options;
  if (user === undefined) {
    const admin = await connectAdmin(options);
    print(await admin.get<Listing>('/pin', { route }), json, listText);
    return;
  }
  if (side === undefined) {
    const message = `name a side: cutover pin ${plain(user)} legacy|candidate; without anything, cutover pin lists who is pinned`;
    throw new CommandFailure(NOT_UNDERSTOOD, message);
  }
  const body = { user, side, forS: secondsOf(options.for), route, reason };
  const admin = await connectAdmin(options);
  print(await admin.post<Pinned>('/pin', body), json, pinnedText);
}

function secondsOf(text: string): number {
  const [, amount, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const seconds = Number(amount) * ({ s: 1, m: 60, h: 3_600, d: 86_400 }[unit] ?? Number.NaN);
  if (seconds > 0) return seconds;
  const message = `${JSON.stringify(text)} is no time; write it as 30m, 1h or 2d`;
  throw new CommandFailure(1, message);
}

function pinnedText({ user, side, until, flags }: Pinned): string {
  const who = plain(user);
  const lines = [`${who}: ${paint('bold', side)} ${untilText(until)}`];
  for (const flag of flags) {
    lines.push(`  ${flag.flag}, read by ${flag.routes.join(', ')}: ${writtenText(flag)}`);
    for (const { route, primary, reason, sentence } of flag.decisions) {
      if (primary === side) continue;
      const warning = `  warning: on ${route} ${primary} serves ${who} all the same, because ${sentence} (${reason})`;
      lines.push(paint('yellow', warning));
    }
  }
  return [
    ...lines,
    '  open WebSockets and event streams follow as onSwitch of their route says; new ones at once',
  ].join('\n');
}

function unpinnedText({ user, flags }: Unpinned): string {
  const who = plain(user);
  const lines = flags.flatMap(flag => [
    `  ${flag.flag}: ${flag.files.length > 0 ? writtenText(flag) : 'no pin of his'}`,
    ...flag.decisions.map(({ route, primary }) => `  on ${route} ${primary} serves him`),
  ]);
  const some = flags.some(({ files }) => files.length > 0);
  return [`${who}: ${some ? 'not pinned any more' : 'was not pinned'}`, ...lines].join('\n');
}

function writtenText({ files, revision }: PinnedFlag): string {
  const wrote = files.length > 0 ? `wrote ${files.join(', ')}` : 'it stood there already';
  return `${wrote}; flags ${revision}`;
}

function listText({ revision, flags }: Listing): string {
  const rows = flags.flatMap(({ flag, pins }) =>
    pins.map(({ users, side, until }) => [
      plain(users.join(', ')),
      side,
      untilText(until),
      plain(flag),
    ]),
  );
  const others = flags
    .filter(flag => flag.others > 0)
    .map(flag => `${plain(flag.flag)} has ${flag.others} more with other constraints`);
  const list =
    rows.length > 0 ? table(['user', 'side', 'how long', 'flag'], rows) : 'nobody is pinned';
  return [list, '', ...others, `flags ${revision}`].join('\n');
}
