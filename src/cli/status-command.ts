// `cutover status`: a running proxy at a glance.
import type { Command } from 'commander';
import type { EvidenceStatus, RouteStatus, Status, TrafficStatus } from '../control/status.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { leftText, percent } from './evidence-text.ts';
import { duration, paint, print, table } from './output.ts';

const HELP = `
Columns legacy and candidate are open WebSocket sessions; failures are counted since the start.

Examples:
  cutover status
  cutover status --json | jq .routes[].stage.text
  cutover status --admin 10.0.0.7:8081 --token-file ./admin.token`;

export function statusCommand(): Command {
  return remoteCommand('status')
    .description('show stages, sessions, flags, configuration and warnings of a running proxy')
    .addHelpText('after', HELP)
    .action(async (options: AdminPlace) => {
      const admin = await connectAdmin(options);
      print(await admin.get<Status>('/status'), options.json ?? false, statusText);
    });
}

function statusText(status: Status): string {
  return [headline(status), '', routesTable(status), '', factsTable(status)].join('\n');
}

function headline({ version, uptimeS, ready, reasons }: Status): string {
  const state = ready
    ? paint('green', 'ready')
    : paint('red', `not ready (${reasons.map(({ code }) => code).join(', ')})`);
  return `cutover ${version}, up ${duration(uptimeS)}, ${state}`;
}

function routesTable({ routes, unrouted }: Status): string {
  const row = (name: string, path: string, stage: string, traffic: TrafficStatus) => [
    name,
    path,
    stage,
    String(traffic.legacy.openSessions),
    String(traffic.candidate.openSessions),
    failuresText(traffic.failures),
  ];
  return table(
    ['route', 'path', 'stage', 'legacy', 'candidate', 'failures'],
    [
      ...routes.map(route => row(route.name, route.path, stageText(route), route)),
      row('(unrouted)', 'any other', 'legacy alone', unrouted),
    ],
  );
}

function stageText({ stage }: RouteStatus): string {
  return stage.kill || stage.name === 'mixed' ? paint('red', stage.text) : stage.text;
}

function failuresText(failures: TrafficStatus['failures']): string {
  const counted = Object.entries(failures).map(([code, count]) => `${code} ${count}`);
  return counted.join(', ') || '-';
}

function factsTable(status: Status): string {
  const { addresses, flags, config, connecting, warnings, capacity, draining } = status;
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

/** Of what was compared; the first row has the title. */
function divergedRows({ routes }: Status): string[][] {
  const known = routes.flatMap(({ name, divergence }) => {
    if (divergence === null) return [];
    const { units, diverged, lower, upper, threshold, cleanUnitsLeft } = divergence;
    const below = `below ${percent(threshold)}: ${leftText(cleanUnitsLeft)}`;
    return [
      `${name}: ${diverged} of ${units} runs, ${percent(lower)} to ${percent(upper)}; ${below}`,
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

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
