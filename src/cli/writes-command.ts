// `cutover writes`: where requests that change state go, and what only one service took.
import type { Command } from 'commander';
import type { KeptSplit, LastSplits } from '../control/write-splits.ts';
import type { RouteWrites, WritesView } from '../control/write-view.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { paint, plain, print, table } from './output.ts';

const HELP = `
Columns: what the configuration says (writes), where a write goes now, and since the start: writes to
one service alone and to both, those whose end is not known yet, those that both took or both refused,
and those that only one took, by cause. Rows in brackets are no routes: legacy gets their writes,
and the candidate those of the bypass that somebody who is open there waits for.

Examples:
  cutover writes
  cutover writes splits --limit 50`;

const SPLITS_HELP = `
Newest first, from state/write-splits.jsonl. The key is the idempotency-key that both services got, the
digest the SHA-256 of the body, which is not kept. Causes:
  second-refused    whoever serves the user took it, the other service did not
  primary-refused   the other way round
  too-large         the body is larger than 1 MiB, and went to one service only
  overload          too many second writes were under way
  severed           it was still to be sent when a rollback severed the candidate

Examples:
  cutover writes splits
  cutover writes splits --route broadcast --limit 200 --json | jq -r .splits[].key`;

interface SplitsOptions extends AdminPlace {
  readonly route?: string;
  readonly limit?: string;
}

export function writesCommand(): Command {
  const splits = remoteCommand('splits')
    .description('list the writes that one service took and the other did not')
    .option('--route <name>', 'of this route alone (default: all)')
    .option('--limit <n>', 'how many, 1000 at most (default: 20)')
    .addHelpText('after', SPLITS_HELP)
    .action(runSplits);
  return remoteCommand('writes')
    .description('show where writes go, and how many reached both services')
    .addHelpText('after', HELP)
    .action(async (options: AdminPlace) => {
      const admin = await connectAdmin(options);
      print(await admin.get<WritesView>('/writes'), options.json ?? false, writesText);
    })
    .addCommand(splits);
}

/** Options before the word `splits` count as well: commander gives them to the command above. */
async function runSplits(_options: SplitsOptions, command: Command): Promise<void> {
  const options = command.optsWithGlobals<SplitsOptions>();
  const { route, limit, json = false } = options;
  const admin = await connectAdmin(options);
  print(await admin.get<LastSplits>('/writes/splits', { route, limit }), json, splitsText);
}

function writesText({ routes, unkept }: WritesView): string {
  const head = ['route', 'writes', 'now', 'alone', 'both', 'in flight', 'agreed', 'splits'];
  const lines = [table(head, routes.map(writesRow))];
  if (unkept > 0) {
    const what = `splits that could not be written to the state folder, and are only counted: ${unkept}`;
    lines.push('', paint('yellow', `warning: ${what}`));
  }
  return lines.join('\n');
}

function writesRow(row: RouteWrites): string[] {
  const { route, mode, writeTo, primary, both, inFlight, agreed } = row;
  return [
    mode === null ? `(${route})` : route,
    mode ?? '-',
    writeTo,
    ...[primary, both, inFlight, agreed].map(String),
    splitCounts(row) || '-',
  ];
}

/** `second-refused 3, too-large 1`; empty without any. */
export function splitCounts({ splits }: Pick<RouteWrites, 'splits'>): string {
  const counted = Object.entries(splits).filter(([, count]) => count > 0);
  return counted.map(([cause, count]) => `${cause} ${count}`).join(', ');
}

function splitsText({ splits, unreadable }: LastSplits): string {
  const head = ['at', 'route', 'cause', 'primary', 'second', 'bytes', 'key', 'digest'];
  const lines = [splits.length === 0 ? 'no splits' : table(head, splits.map(splitRow))];
  if (unreadable > 0) {
    lines.push(
      '',
      paint('yellow', `warning: lines of the file that are no records: ${unreadable}`),
    );
  }
  return lines.join('\n');
}

function splitRow({ at, route, cause, primary, second, bytes, key, digest }: KeptSplit): string[] {
  return [
    ...[at, route, cause].map(plain),
    `${primary.side} ${plain(String(primary.outcome))}`,
    second === null ? '-' : `${second.side} ${plain(String(second.outcome))}`,
    bytes === null ? '-' : String(bytes),
    key === null ? '-' : plain(key),
    // Enough to tell two apart at a glance; --json has all of it.
    digest === null ? '-' : plain(digest.slice(0, 12)),
  ];
}
