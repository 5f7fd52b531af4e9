// Evidence as people read it.
import {
  type EvidenceSummary,
  type GroupPage,
  type KeptFinding,
  type KeptGroup,
  whereText,
} from '../control/evidence/kept.ts';
import type { RedactedLeaf } from '../rules/redaction.ts';
import type { Difference, Verdict } from '../rules/verdict.ts';
import { duration, paint, plain, table } from './output.ts';

/** Of one event or value; `--json` has all of it. */
const MOST_SHOWN = 600;
/** The last few may yet wait for their verdict on one side. */
const ABOUT_AS_MANY = 0.9;

export function groupsText({ groups, total }: GroupPage): string {
  if (total === 0) return 'nothing of the kind was found';
  const rows = groups.map(group => [
    String(group.id),
    group.route,
    plain(group.eventType),
    verdictText(group.verdict),
    plain(whereText(group)),
    String(group.count),
    String(group.examples),
    `${agoText(group.lastAt)} ago`,
  ]);
  const head = ['nr', 'route', 'type', 'verdict', 'where', 'found', 'kept', 'last'];
  const more =
    total > groups.length ? `\n\n${groups.length} of ${total} kinds; --limit shows more` : '';
  return [`${table(head, rows)}${more}`, ...halvesTexts(groups)].join('\n\n');
}

/** Where about as many of a type are missing as are extra, they may be each other's. */
function halvesTexts(groups: readonly KeptGroup[]): string[] {
  return groups.flatMap(missing => {
    if (missing.verdict !== 'missing') return [];
    const { route, eventType, count } = missing;
    const extra = groups.find(
      each => each.verdict === 'extra' && each.route === route && each.eventType === eventType,
    );
    if (extra === undefined) return [];
    if (Math.min(count, extra.count) < ABOUT_AS_MANY * Math.max(count, extra.count)) return [];
    return [
      `${plain(eventType)} of ${route} is missing about as often as it is extra: hold the events of ${missing.id} and ${extra.id} against each other. If they are the same ones in one session, name what each service makes up in them in compare.allow, or what tells them apart in compare.key; in different sessions, the candidate sent them to the wrong users`,
    ];
  });
}

export function groupText(group: KeptGroup): string {
  const { route, eventType, verdict, count, examples, firstAt, lastAt } = group;
  return [
    `${verdictText(verdict)} in ${plain(eventType)} of ${route}: ${plain(whereText(group))}`,
    `found ${count} times from ${isoText(firstAt)} to ${isoText(lastAt)}; ${examples} kept`,
  ].join('\n');
}

export function exampleText(finding: KeptFinding): string {
  const { id, at, unit, session, key, differences, cut, incidents = [] } = finding;
  const events = (['legacy', 'candidate'] as const).map(side => [side, eventText(finding, side)]);
  return [
    paint('bold', `#${id} at ${isoText(at)}`),
    table(
      [],
      [
        ['unit', plain(unit)],
        ['session', plain(session)],
        ...(incidents.length === 0 ? [] : [['incidents', incidents.join(', ')]]),
        ['key', plain(key ?? '-')],
        ...(cut ? [['events', 'too large to be kept']] : events),
        ...differences.map(difference => ['differs', differenceText(difference)]),
      ],
    ),
  ].join('\n');
}

export function summaryText({ rates, threshold, since, restarts }: EvidenceSummary): string {
  const from = since === null ? 'in all that is kept' : `since ${isoText(since)}`;
  const anew = restarts.map(
    ({ route, at }) =>
      `\n${route ?? 'every route'} was counted anew from ${isoText(at)} on (evidence restart), without what was under way; kinds are older, too`,
  );
  if (rates.length === 0) {
    const underWay = '\nwhat is under way is counted once nothing of it has come for a minute';
    return `no run or session has ended ${from}, so nothing is known${anew.join('')}${underWay}`;
  }
  const rows = rates.map(rate => [
    rate.route,
    rate.eventType === null ? paint('bold', '(all)') : plain(rate.eventType),
    `${rate.diverged} of ${rate.units} ${rate.of}${rate.units === 1 ? '' : 's'}`,
    rate.rate === null ? '-' : percent(rate.rate),
    `${percent(rate.lower)} to ${percent(rate.upper)}`,
    leftText(rate.cleanUnitsLeft),
    Object.entries(rate.kinds)
      .map(([verdict, count]) => `${verdict} ${count}`)
      .join(', ') || '-',
  ]);
  const head = [
    'route',
    'type',
    'diverged',
    'rate',
    '95 %',
    `until < ${percent(threshold)}`,
    'kinds',
  ];
  return `${table(head, rows)}\n\nruns and sessions (a request is one) that ended ${from}${anew.join('')}`;
}

/** Clean units that are still needed. */
export function leftText(left: number | null): string {
  if (left === null) return 'never';
  return left === 0 ? paint('green', 'reached') : `${left} more clean`;
}

/** `0.12 %`; three digits say all that an interval does. */
export function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}

export function verdictText(verdict: Verdict): string {
  if (verdict === 'match' || verdict === 'noise') return verdict;
  if (verdict === 'unjudged' || verdict === 'failed-alike') return paint('yellow', verdict);
  return paint('red', verdict);
}

function eventText(finding: KeptFinding, side: 'legacy' | 'candidate'): string {
  if (!(side in finding)) return 'could not be read';
  return finding[side] === null ? 'none' : shown(finding[side]);
}

function differenceText(difference: Difference): string {
  const { kind, path } = difference;
  const sides = [
    ...('legacy' in difference ? [`legacy ${shown(difference.legacy)}`] : []),
    ...('candidate' in difference ? [`candidate ${shown(difference.candidate)}`] : []),
  ];
  return `${plain(path || '(whole)')} ${kind}: ${sides.join(', ')}`;
}

/** JSON with redacted values as `<user 06976ada…, 9>`: class, beginning of the hash, length. */
function shown(value: unknown): string {
  const text = JSON.stringify(value, (_name, inner: unknown) =>
    isLeaf(inner) ? leafText(inner) : inner,
  );
  const whole = plain(text ?? 'nothing');
  return whole.length > MOST_SHOWN ? `${whole.slice(0, MOST_SHOWN)}…` : whole;
}

function isLeaf(value: unknown): value is RedactedLeaf {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, '$r');
}

function leafText({ $r, h, n, s }: RedactedLeaf): string {
  return s ?? `<${$r} ${h?.slice(0, 8) ?? '?'}, ${n}>`;
}

function isoText(atMs: number): string {
  return new Date(atMs).toISOString();
}

function agoText(atMs: number): string {
  return duration((Date.now() - atMs) / 1_000);
}
