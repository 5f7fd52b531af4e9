// `cutover status`: a running proxy at a glance.

import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';
import type { SessionBooks } from '../control/books-routes.ts';
import type { EvidenceStatus, RouteStatus, Status, TrafficStatus } from '../control/status.ts';
import { SIDES } from '../rules/decide.ts';
import { readingText } from '../rules/guardrails.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { booksTexts, causesText } from './books-text.ts';
import { leftText, percent } from './evidence-text.ts';
import { duration, paint, plain, print, table } from './output.ts';
import { REFUSES_ALL } from './proof-text.ts';
import { splitCounts } from './writes-command.ts';

const HELP = `
Columns legacy and candidate are open WebSockets and event streams. Plain requests that were answered
(by legacy/by candidate) and failures are counted since the start.

compared: what each service sent since the start. What was seen is the sum of what stands behind it: the
verdicts, what waits for its pair (pending), and what nothing can be said of (unjudged), with the reasons.
--session shows the same of one WebSocket or event stream that is open and compared. Its id is the session
in cutover evidence show and isolation incidents; both services were told that of a WebSocket
(x-cutover-session).
diverged: of runs, sessions or requests, those in which anything differed; which share that is, with limits
that hold with 95 %; and how many more must be clean until it is known to be below 0.1 %.
legs lost: second legs, and requests shown to the other service, that could not be had or were broken off
since the start, by cause and service.

Examples:
  cutover status
  cutover status --json | jq .routes[].stage.text
  cutover status --session 5f0c31a2-7d0e-4c1c-9a52-6f1f5d0a7b11
  cutover status --admin 10.0.0.7:8081 --token-file ./admin.token`;

export function statusCommand(): Command {
  return remoteCommand('status')
    .description('show stages, sessions, flags, configuration and warnings of a running proxy')
    .option('--session <id>', 'what was compared of this open session alone')
    .addHelpText('after', HELP)
    .action(async (options: AdminPlace & { session?: string }) => {
      const { session, json = false } = options;
      const admin = await connectAdmin(options);
      if (session === undefined) return print(await admin.get<Status>('/status'), json, statusText);
      const found = await admin.get<SessionBooks>('/books', { session });
      print(found, json, ({ books }) => booksTexts(books).join('\n'));
    });
}

function statusText(status: Status): string {
  return [headline(status), '', routesTable(status), '', factsTable(status)].join('\n');
}

function headline({ version, uptimeS, ready, reasons, bypass, latch }: Status): string {
  const state = ready
    ? paint('green', 'ready')
    : paint('red', `not ready (${reasons.map(({ code }) => code).join(', ')})`);
  const latched = latch.held.length === 0 ? '' : `, ${paint('red', 'rolled back')}`;
  const bypassed = bypass.engaged === null ? '' : `, ${paint('red', 'bypass on')}`;
  return `cutover ${version}, up ${duration(uptimeS)}, ${state}${latched}${bypassed}`;
}

function routesTable({ routes, unrouted, bypass }: Status): string {
  const row = (name: string, path: string, stage: string, traffic: TrafficStatus) => [
    name,
    path,
    stage,
    String(traffic.legacy.openSessions + traffic.legacy.openStreams),
    String(traffic.candidate.openSessions + traffic.candidate.openStreams),
    requestsText(traffic),
    failuresText(traffic.failures),
  ];
  return table(
    ['route', 'path', 'stage', 'legacy', 'candidate', 'requests', 'failures'],
    [
      ...routes.map(route => row(route.name, route.path, stageText(route), route)),
      row('(unrouted)', 'any other', 'legacy alone', unrouted),
      ...(bypass.engaged !== null || hasTraffic(bypass)
        ? [row('(bypass)', 'every', 'legacy alone', bypass)]
        : []),
    ],
  );
}

function stageText({ stage, latch }: RouteStatus): string {
  if (latch !== null) return `${paint('red', latch)} (${stage.text})`;
  return stage.kill || stage.name === 'mixed' ? paint('red', stage.text) : stage.text;
}

function requestsText({ legacy, candidate }: TrafficStatus): string {
  return hasRequests({ legacy, candidate }) ? `${legacy.requests}/${candidate.requests}` : '-';
}

function hasRequests({ legacy, candidate }: Pick<TrafficStatus, 'legacy' | 'candidate'>): boolean {
  return legacy.requests + candidate.requests > 0;
}

function hasTraffic(traffic: TrafficStatus): boolean {
  const { legacy, failures } = traffic;
  const open = legacy.openSessions + legacy.openStreams;
  return hasRequests(traffic) || open > 0 || Object.keys(failures).length > 0;
}

function failuresText(failures: TrafficStatus['failures']): string {
  const counted = Object.entries(failures).map(([code, count]) => `${code} ${count}`);
  return counted.join(', ') || '-';
}

function factsTable(status: Status): string {
  const { addresses, flags, config, connecting, warnings, capacity, draining, unrouted } = status;
  const { lastReload } = config;
  const age = flags.ageMs === null ? 'unknown' : `read ${duration(flags.ageMs / 1_000)} ago`;
  const rows = [
    ['clients', addresses.listen ?? 'not listening'],
    ['admin', addresses.admin ?? 'not listening'],
    ['connecting', `${connecting}${draining ? ', draining' : ''}`],
    [
      'flags',
      `${flags.revision}, ${age}, ${counted(flags.errors, 'error')}, ${counted(flags.lintWarnings, 'warning')}${flags.errors + flags.lintWarnings > 0 ? ' (cutover flags lint)' : ''}`,
    ],
    ...serverRow(flags),
    ...writesRows(status),
    ['unrouted', unrouted.note],
    ...latchRows(status),
    ...rollbackRows(status),
    ...guardrailRows(status),
    ...bypassRows(status),
    ...booksRows(status),
    ...secondLegRows(status),
    ...isolationRows(status),
    ...divergedRows(status),
    ['evidence', evidenceText(status.evidence)],
    ['config', `${config.file}, loaded ${config.loadedAt}`],
  ];
  if (lastReload !== null && !lastReload.ok) {
    rows.push(['', `reload at ${lastReload.at} refused: ${lastReload.problems.join('; ')}`]);
  }
  for (const message of [...warnings.map(warning => warning.message), ...capacity]) {
    rows.push([paint('yellow', 'warning'), message]);
  }
  return table([], rows);
}

/** What the comparison has found, route by route and in all; an older proxy does not tell the latter. */
function booksRows({ routes, judge, books: all = null }: Status): string[][] {
  const rows = routes.flatMap(({ name, books }) =>
    books === null ? [] : booksTexts(books).map(text => `${name}: ${text}`),
  );
  // More than any route has: of several, or of one that the configuration no longer has.
  const isMore = routes.every(({ books }) => !isDeepStrictEqual(books, all));
  if (all !== null && isMore) rows.push(...booksTexts(all).map(text => `all routes: ${text}`));
  if (!judge.running || judge.restarts > 0) {
    rows.push(`${judge.running ? 'the judge' : 'no judge;'} began anew ${judge.restarts} times`);
  }
  return rows.map((text, index) => [index === 0 ? 'compared' : '', text]);
}

/** Of each service, what was not there to be compared; nothing where all was. */
function secondLegRows({ routes }: Status): string[][] {
  const rows = routes.flatMap(({ name, secondLegsLost }) => {
    const found = SIDES.map(side => [side, causesText(secondLegsLost[side])])
      .filter(([, causes]) => causes !== '')
      .map(([side, causes]) => `${causes} of ${side}`);
    return found.length === 0 ? [] : [`${name}: ${found.join('; ')}`];
  });
  return rows.map((text, index) => [index === 0 ? 'legs lost' : '', text]);
}

/** Other users' data; nothing where none was found. */
function isolationRows({ routes }: Status): string[][] {
  const rows = routes.flatMap(({ name, isolation: { contaminated, identityMismatch } }) => {
    const found = contaminated.map(
      ({ side, rule, outcome, count }) => `${count} of ${side} by ${rule}, ${outcome}`,
    );
    if (identityMismatch) found.push('identity-mismatch');
    return found.length === 0 ? [] : [`${name}: ${found.join('; ')} (cutover isolation incidents)`];
  });
  return rows.map((text, index) => [index === 0 ? paint('red', 'contaminated') : '', text]);
}

/** Of what was compared; the first row has the title. */
function divergedRows({ routes }: Status): string[][] {
  const known = routes.flatMap(({ name, protocol, divergence }) => {
    if (divergence === null) return [];
    const { units, diverged, lower, upper, threshold, cleanUnitsLeft, of } = divergence;
    const what = of === 'run' ? 'runs' : protocol === 'http' ? 'requests' : 'sessions';
    const below = `below ${percent(threshold)}: ${leftText(cleanUnitsLeft)}`;
    return [
      `${name}: ${diverged} of ${units} ${what}, ${percent(lower)} to ${percent(upper)}; ${below}`,
    ];
  });
  return known.map((text, index) => [index === 0 ? 'diverged' : '', text]);
}

function evidenceText({ thread, use, dropped, trouble, setAside }: EvidenceStatus): string {
  const lost = Object.entries(dropped).map(([cause, count]) => `${cause} ${count}`);
  return [
    trouble === null ? thread : paint('red', `not kept since ${trouble.since}: ${trouble.message}`),
    ...(use === null ? [] : [`${use.groups} kinds, ${use.rows} examples, ${megabytes(use.bytes)}`]),
    ...(lost.length === 0 ? [] : [`dropped: ${lost.join(', ')}`]),
    ...(setAside === null ? [] : [`set aside at ${setAside.at}: ${setAside.file}`]),
  ].join('; ');
}

function megabytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

function serverRow({ provider, lastFetch }: Status['flags']): string[][] {
  if (lastFetch === null) return [];
  const { ok, error, confirmedAt } = lastFetch;
  const confirmed = `confirmed ${confirmedAt ?? 'not yet'}`;
  return [['', `${provider} server: ${ok ? confirmed : `${error}; ${confirmed}`}`]];
}

/** Of the routes whose writes are to reach both services. */
function writesRows({ writes }: Status): string[][] {
  const both = writes.routes.filter(({ mode }) => mode === 'both');
  return both.map(row => {
    const where = row.writeTo === 'both' ? 'to both' : 'to one service alone for now';
    const splits = splitCounts(row);
    const parted = splits === '' ? 'no splits' : `${splits} (cutover writes splits)`;
    return ['writes', `${row.route}: ${where}, ${row.inFlight} in flight, ${parted}`];
  });
}

function latchRows({ latch: { held, kept, damaged } }: Status): string[][] {
  const rows = held.map(({ scope, state, at, by, reason }) => {
    const what = scope === '*' ? 'everything' : plain(scope);
    return `${what} ${state} since ${at} (${plain(by)}: ${plain(reason)}); cutover release`;
  });
  if (!kept) rows.push('what holds could not be written: a restart ends it');
  if (damaged > 0) rows.push(`lines of the latch's file that can not be read: ${damaged}`);
  return rows.map((text, index) => [index === 0 ? paint('red', 'latch') : '', text]);
}

type Outlook = NonNullable<Status['rollback']>;

/** What a rollback would meet now, of routes that the candidate serves somebody on, and of everything. */
function rollbackRows({ routes, rollback: all }: Status): string[][] {
  const rows = routes.flatMap(({ name, rollback, staleSince }) => {
    if (rollback === null || (isNothing(rollback) && staleSince === null)) return [];
    const stale =
      staleSince === null ? [] : [`with --accept-stale: legacy is stale since ${staleSince}`];
    return [`${name}: ${[...meets(rollback), ...stale].join(', ')}`];
  });
  // More than any route says: all share one queue, and a route may be gone whose sessions are still open.
  const isMore = routes.every(({ rollback }) => !isDeepStrictEqual(rollback, all));
  if (all !== null && !isNothing(all) && isMore) rows.push(`everything: ${meets(all).join(', ')}`);
  return rows.map((text, index) => [index === 0 ? 'a rollback' : '', text]);
}

function isNothing({ warm, toDial, notMovable, answers }: Outlook): boolean {
  return warm + toDial + notMovable + answers === 0;
}

function meets({ warm, toDial, notMovable, refused, answers, paceMs }: Outlook): string[] {
  return [
    `${warm} at once`,
    ...(toDial > 0 ? [`${toDial} dialled for`] : []),
    ...(refused > 0 ? [`legacy has refused ${refused} of them, and ${REFUSES_ALL}`] : []),
    ...(notMovable > 0 ? [`${notMovable} not movable, told to come again`] : []),
    ...(answers > 0 ? [`${answers} answers and streams ended`] : []),
    ...(paceMs > 0 ? [`the last one after ${duration(Math.ceil(paceMs / 1_000))}`] : []),
  ];
}

/** Rules that fired of late, and those that can not tell. */
function guardrailRows({ routes }: Status): string[][] {
  const rows = routes.flatMap(({ name, guardrails: { idle, rules } }) => {
    if (idle !== null) return [];
    const fired = rules.filter(({ firedMs }) => firedMs !== null);
    const unknown = rules
      .filter(({ state }) => state === 'too-little')
      .map(({ rule, lacks }) =>
        lacks === 'legacy' ? `${rule} (legacy's own is not known)` : rule,
      );
    return [
      ...fired.map(reading => {
        const ago = duration(Math.round((reading.firedMs ?? 0) / 1_000));
        return `${name}: ${paint('red', reading.action)} ${ago} ago, ${readingText(reading)}`;
      }),
      ...(fired.length === 0 && unknown.length === 0 ? [`${name}: all clear`] : []),
      ...(unknown.length > 0 ? [`${name}: too little to tell: ${unknown.join(', ')}`] : []),
    ];
  });
  return rows.map((text, index) => [index === 0 ? 'guardrails' : '', text]);
}

function bypassRows({ bypass }: Status): string[][] {
  const { engaged, note } = bypass;
  if (engaged === null) return [];
  return [[paint('red', 'bypass'), `since ${engaged.at}: ${plain(engaged.reason)}; ${note}`]];
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
