// The picture that `cutover top` draws: 80 columns are enough, more rows show more routes.
import { SIDES } from '../rules/decide.ts';
import { duration, plain } from './output.ts';
import type { Line } from './screen.ts';
import type { LaneRates, Rate, RouteRates, Top } from './top-rates.ts';

/** Widths in characters; text to the left, figures to the right. One space between: 79 in all. */
const COLUMNS = [
  ['route', -11],
  ['stage', -12],
  ['side', -9],
  ['open', 6],
  ['users', 6],
  ['events/s', 8],
  ['req/s', 6],
  ['bytes/s', 7],
  ['errors', 6],
] as const;

/** `notice` is for the last line. Routes that do not fit into `rows` are counted. */
export function topLines(top: Top, rows: number, notice: string | null = null): Line[] {
  const head: Line[] = [
    { text: headline(top), style: top.ready ? 'bold' : 'red' },
    { text: flagsText(top), ...(top.flags.errors > 0 ? { style: 'red' as const } : {}) },
    { text: writesText(top) },
    ...(top.bypass === null
      ? []
      : [
          {
            text: `bypass since ${plain(top.bypass.at)}: ${plain(top.bypass.reason)}`,
            style: 'red' as const,
          },
        ]),
    { text: '' },
    { text: row(COLUMNS.map(([title]) => title)), style: 'dim' },
  ];
  const foot: Line[] = notice === null ? [] : [{ text: plain(notice), style: 'red' }];
  const body = top.routes.map(routeLines);
  const room = rows - head.length - foot.length;
  let shown = body.length;
  const height = () => 2 * shown + (shown < body.length ? 1 : 0);
  while (shown > 0 && height() > room) shown -= 1;
  const hidden = body.length - shown;
  return [
    ...head,
    ...body.slice(0, shown).flat(),
    ...(hidden > 0 ? [{ text: `… and ${hidden} more`, style: 'dim' as const }] : []),
    ...foot,
  ];
}

function headline({ version, uptimeS, ready, draining, connecting }: Top): string {
  const state = ready ? 'ready' : draining ? 'draining' : 'not ready';
  return `cutover ${version}, up ${duration(uptimeS)}, ${state}, ${connecting} connecting`;
}

function flagsText({ flags: { revision, ageMs, errors } }: Top): string {
  const age = ageMs === null ? 'unknown' : `read ${duration(ageMs / 1_000)} ago`;
  const wrong = errors === 0 ? '' : `, ${errors} error${errors === 1 ? '' : 's'}`;
  return `flags ${revision}, ${age}${wrong}`;
}

function writesText({ writes: { perS, toBothPerS, inFlight, splits } }: Top): string {
  return `writes ${figure(perS)}/s, ${figure(toBothPerS)}/s to both, ${inFlight} in flight; ${splits} split`;
}

/** Two lines: one for each side, so that they can be compared. */
function routeLines(route: RouteRates): Line[] {
  return SIDES.map((side, i) => {
    const isFirst = i === 0;
    const lane = route[side];
    const failing = isFirst && (route.failuresPerS ?? 0) > 0;
    return {
      text: row([
        isFirst ? plain(route.name) : '',
        isFirst ? route.stage : '',
        side,
        ...laneCells(lane),
        isFirst ? figure(route.failures) : '',
      ]),
      ...(failing ? { style: 'red' as const } : isIdle(lane) ? { style: 'dim' as const } : {}),
    };
  });
}

function laneCells(lane: LaneRates): string[] {
  return [
    figure(lane.openSessions + lane.openStreams),
    figure(lane.users),
    figure(lane.eventsPerS),
    figure(lane.requestsPerS),
    figure(lane.bytesToClientPerS),
  ];
}

function isIdle({ openSessions, openStreams, eventsPerS, requestsPerS }: LaneRates): boolean {
  return openSessions + openStreams + (eventsPerS ?? 0) + (requestsPerS ?? 0) === 0;
}

function row(cells: readonly string[]): string {
  return cells
    .map((cell, i) => {
      const width = COLUMNS[i]?.[1] ?? 0;
      const characters = [...cell];
      const cut =
        characters.length > Math.abs(width)
          ? `${characters.slice(0, Math.abs(width) - 1).join('')}…`
          : cell;
      return width < 0 ? cut.padEnd(-width) : cut.padStart(width);
    })
    .join(' ')
    .trimEnd();
}

/** At most four characters: `0`, `7.5`, `312`, `4.2k`, `38k`, `1.2M`; `-` while it is not known. */
export function figure(value: Rate): string {
  if (value === null) return '-';
  if (Number.isInteger(value) && value < 1_000) return String(value);
  const units = ['', 'k', 'M', 'G', 'T'];
  let left = value;
  let unit = 0;
  while (left >= 999.5 && unit < units.length - 1) {
    left /= 1_000;
    unit += 1;
  }
  return `${left < 9.95 ? left.toFixed(1) : left.toFixed(0)}${units[unit]}`;
}
