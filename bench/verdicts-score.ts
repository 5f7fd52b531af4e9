// What a comparison found against what was planted: every fault has one right finding, and whatever
// was found besides is a false alarm.
import type { FaultKind } from '../src/broadcast/fault.ts';
import type { PlantedFault } from '../src/broadcast/fault-planter.ts';
import type { KeptFinding } from '../src/control/evidence/kept.ts';
import type { Verdict } from '../src/rules/verdict.ts';

/** What an operator would be told of; the rest says that nothing is wrong, or nothing known. */
export const ALARMS = [
  ...(['mismatch', 'missing', 'extra', 'duplicate', 'out-of-order', 'contaminated'] as const),
] as const satisfies readonly Verdict[];
/** Misses and false alarms that are told one by one. */
const MOST_TOLD = 20;

export interface Score {
  readonly planted: number;
  readonly found: number;
  readonly byKind: Readonly<Partial<Record<FaultKind, { planted: number; found: number }>>>;
  readonly falseAlarms: number;
  /** The first of each, a sentence each. */
  readonly missed: readonly string[];
  readonly alarms: readonly string[];
}

/**
 * `userOfRun` names the user of a run; a session's user follows from what legacy, which has no faults,
 * sent in it.
 */
export function scoreOf(
  truth: readonly PlantedFault[],
  findings: readonly KeptFinding[],
  userOfRun: ReadonlyMap<string, string>,
): Score {
  const byKey = Map.groupBy(findings, ({ key }) => key);
  const userOf = usersBySession(findings, userOfRun);
  const explained = new Set<KeptFinding>();
  const byKind: Partial<Record<FaultKind, { planted: number; found: number }>> = {};
  const missed: string[] = [];
  let found = 0;
  for (const fault of truth) {
    const kind = byKind[fault.kind] ?? { planted: 0, found: 0 };
    byKind[fault.kind] = kind;
    kind.planted += 1;
    const candidates = (byKey.get(fault.event_key) ?? []).filter(each => !explained.has(each));
    const right = rightFindings(fault, candidates, userOf);
    if (right === null) {
      const seen = candidates.map(alarmText).join('; ') || 'nothing';
      missed.push(`${fault.kind} ${JSON.stringify(fault.detail)} of ${fault.event_key}: ${seen}`);
      continue;
    }
    for (const each of right) explained.add(each);
    kind.found += 1;
    found += 1;
  }
  const alarms = findings.filter(each => !explained.has(each));
  return {
    ...{ planted: truth.length, found, byKind, falseAlarms: alarms.length },
    missed: missed.slice(0, MOST_TOLD),
    alarms: alarms.slice(0, MOST_TOLD).map(alarmText),
  };
}

/** What must have been found of a fault, and at whom; null if it was not. */
function rightFindings(
  { kind, user, detail }: PlantedFault,
  candidates: readonly KeptFinding[],
  userOf: ReadonlyMap<string, string>,
): readonly KeptFinding[] | null {
  const at = (name: unknown, verdict: Verdict) =>
    candidates.find(each => {
      const known = userOf.get(each.session);
      return each.verdict === verdict && (known === undefined || known === name);
    });
  const differing = (verdict: Verdict, ...places: readonly RegExp[]) => {
    const it = at(user, verdict);
    const differs = (place: RegExp) => it?.differences.some(({ path }) => place.test(path));
    return it !== undefined && places.every(differs) ? [it] : null;
  };
  const one = (verdict: Verdict) => {
    const it = at(user, verdict);
    return it === undefined ? null : [it];
  };
  switch (kind) {
    case 'drop':
      return one('missing');
    case 'duplicate':
      return one('duplicate');
    case 'reorder':
      return one('out-of-order');
    case 'wrong-type':
      return differing('mismatch', /^\/type$/);
    case 'rewrite-provenance': {
      const fields = Array.isArray(detail.fields) ? detail.fields : [];
      return differing('mismatch', ...fields.map(field => new RegExp(`^/${field}$`)));
    }
    case 'routing-field':
    case 'nested-routing-field':
      return differing('contaminated', /^(?:\/data|\/payload)?\/target_user_id$/);
    case 'misroute': {
      const missing = at(user, 'missing');
      const anothers = at(detail.to, 'contaminated');
      if (missing === undefined || anothers === undefined) return null;
      return missing.session === anothers.session ? null : [missing, anothers];
    }
    case 'slow':
    case 'crash':
      throw new Error(`there is no verdict that a planted ${kind} must yield`);
  }
}

function usersBySession(
  findings: readonly KeptFinding[],
  userOfRun: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  const users = new Map<string, string>();
  for (const { session, sides, key } of findings) {
    const user = userOfRun.get(runOfKey(key) ?? '');
    if (sides.includes('legacy') && user !== undefined) users.set(session, user);
  }
  return users;
}

/** `k1:["type","run",…]` */
function runOfKey(key: string | null): string | undefined {
  return /^k1:\["[^"]*","([^"]*)"/.exec(key ?? '')?.[1];
}

function alarmText({ verdict, eventType, key, differences }: KeptFinding): string {
  const places = differences.map(({ kind, path }) => `${kind} ${path}`).join(', ');
  return `${verdict} ${eventType} ${key} ${places}`.trimEnd();
}
