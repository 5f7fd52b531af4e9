// `cutover evidence rejudge`: what the rules of a configuration would say of what is kept.
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { type KeptFinding, whereText } from '../control/evidence/kept.ts';
import { type CompiledRules, compileRules } from '../rules/compare/compile.ts';
import { IdClasses } from '../rules/compare/ids.ts';
import { type EvidenceGroup, generalPath, generalType, groupsOf } from '../rules/evidence-group.ts';
import { rejudge } from '../rules/rejudge.ts';
import { VERDICTS, type Verdict } from '../rules/verdict.ts';
import { connectAdmin } from './admin-client.ts';
import { type EvidenceOptions, findingsOf } from './evidence-filter.ts';
import { verdictText } from './evidence-text.ts';
import { CommandFailure } from './failure.ts';
import { readConfig, readProfile } from './local-config.ts';
import { plain, print, table } from './output.ts';

/** What of an exported line is relied on; the rest is what it was exported as. */
const Line = z.object({
  route: z.string(),
  eventType: z.string(),
  session: z.string(),
  verdict: z.enum(Object.keys(VERDICTS) as Verdict[]),
  sides: z.array(z.enum(['legacy', 'candidate'])),
  differences: z.array(z.object({ path: z.string() })),
});

interface Change {
  readonly route: string;
  readonly eventType: string;
  readonly was: Verdict;
  readonly is: string;
  count: number;
}

interface Rejudgement {
  /** Pairs that were judged again. */
  readonly judged: number;
  /** Findings that are not about what two events say, or whose events were not kept. */
  readonly untouched: number;
  /** Routes that the configuration does not have. */
  readonly unknownRoutes: readonly string[];
  readonly changes: readonly Change[];
  /** What would still differ. */
  readonly differing: readonly (EvidenceGroup & { count: number })[];
}

export interface RejudgeOptions extends EvidenceOptions {
  readonly from?: string;
}

/** Judges what is kept by the rules of the configuration in `file`, and prints what would change. */
export async function runRejudge(file: string, options: RejudgeOptions): Promise<void> {
  const { routes } = await readConfig(file);
  const compiled = routes.map(
    async route =>
      [route.name, compileRules(route.compare, await readProfile(route, file))] as const,
  );
  const rules = new Map(await Promise.all(compiled));
  const { from, json = false } = options;
  const findings = from === undefined ? await running(options) : exported(from, options);
  print(await rejudgeAll(findings, rules), json, rejudgementText);
}

async function running(options: EvidenceOptions): Promise<AsyncIterable<KeptFinding>> {
  return findingsOf(await connectAdmin(options), options);
}

/** What `findingsOf` would give of it. */
async function* exported(file: string, options: EvidenceOptions): AsyncGenerator<KeptFinding> {
  let number = 0;
  try {
    for await (const line of createInterface({ input: createReadStream(file) })) {
      number += 1;
      if (line.trim() === '') continue;
      const value: unknown = JSON.parse(line);
      Line.parse(value);
      const finding = value as KeptFinding;
      if (isAbout(finding, options)) yield finding;
    }
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) {
      const message = `${file}:${number}: this is no line that cutover evidence export writes`;
      throw new CommandFailure(1, message, error);
    }
    if (error instanceof Error && 'code' in error) {
      throw new CommandFailure(2, `${file}: it can not be read (${error.code})`, error);
    }
    throw error;
  }
}

function isAbout(finding: KeptFinding, { route, type, verdict, path }: EvidenceOptions): boolean {
  const { eventType, differences } = finding;
  const is = (wanted: string | undefined, ...ones: readonly string[]) =>
    wanted === undefined || ones.includes(wanted);
  if (!is(route, finding.route) || !is(verdict, finding.verdict)) return false;
  if (!is(type, eventType, generalType(eventType))) return false;
  if (path === undefined || path === '') return true;
  // Of other verdicts the places of differences are not what they are found by.
  if (finding.verdict !== 'mismatch' && finding.verdict !== 'noise') return false;
  return differences.some(each => isAtOrBelow(each.path, path.split('/')));
}

/** `place`: as `list` shows it, where data and indexes are `*`, or as it stands there. */
function isAtOrBelow(path: string, place: readonly string[]): boolean {
  const [segments, general] = [path.split('/'), generalPath(path).split('/')];
  return place.every((segment, i) => segment === segments[i] || segment === general[i]);
}

async function rejudgeAll(
  findings: AsyncIterable<KeptFinding>,
  rules: ReadonlyMap<string, CompiledRules>,
): Promise<Rejudgement> {
  const sessions = new Map<string, IdClasses>();
  const changes = new Map<string, Change>();
  const differing = new Map<string, EvidenceGroup & { count: number }>();
  const unknownRoutes = new Set<string>();
  let [judged, untouched] = [0, 0];
  for await (const finding of findings) {
    const { route, eventType, session, verdict: was } = finding;
    const of = rules.get(route);
    if (of === undefined) unknownRoutes.add(route);
    const ids = sessions.get(session) ?? new IdClasses();
    sessions.set(session, ids);
    const found = of === undefined ? null : rejudge(finding, of, ids);
    if (found === null) {
      untouched += 1;
      continue;
    }
    judged += 1;
    const is = found.because === null ? found.verdict : `${found.verdict} (${found.because})`;
    count(changes, [route, eventType, was, is], () => ({ route, eventType, was, is, count: 0 }));
    if (found.verdict !== 'mismatch') continue;
    for (const group of groupsOf({ ...finding, legacy: null, candidate: null, ...found })) {
      count(differing, [...Object.values(group)], () => ({ ...group, count: 0 }));
    }
  }
  const most = (a: { count: number }, b: { count: number }) => b.count - a.count;
  return {
    ...{ judged, untouched, unknownRoutes: [...unknownRoutes] },
    changes: [...changes.values()].sort(most),
    differing: [...differing.values()].sort(most),
  };
}

function count<T extends { count: number }>(
  counts: Map<string, T>,
  key: readonly string[],
  begin: () => T,
): void {
  const text = JSON.stringify(key);
  const counted = counts.get(text) ?? begin();
  counted.count += 1;
  counts.set(text, counted);
}

function rejudgementText(found: Rejudgement): string {
  const { judged, untouched, unknownRoutes, changes, differing } = found;
  if (judged + untouched === 0)
    return 'nothing that is kept is of that kind (cutover evidence list)';
  const rows = changes.map(({ route, eventType, was, is, count }) => [
    ...[route, plain(eventType), verdictText(was)],
    ...[was === is ? 'the same' : is, String(count)],
  ]);
  const places = differing.map(group => [
    ...[group.route, plain(group.eventType), plain(whereText(group)), String(group.count)],
  ]);
  return [
    table(['route', 'type', 'was', 'would be', 'pairs'], rows),
    ...(places.length > 0
      ? [`would still differ:\n${table(['route', 'type', 'where', 'pairs'], places)}`]
      : []),
    `${judged} kept pairs judged again, ${untouched} findings are about something else`,
    ...unknownRoutes.map(route => `the configuration has no route ${plain(route)}`),
  ].join('\n\n');
}
