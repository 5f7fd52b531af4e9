// A rollback under traffic, seen from the clients: when the candidate's last byte came, what was lost,
// doubled or closed, and what else clients noticed. Then the same without legs that stand by, and over and
// over again. Both services send each user the same events, with who they are in a field of its own.
import { setTimeout as pause } from 'node:timers/promises';
import { rounded } from './comparison.ts';
import { nowUs } from './event.ts';
import { quantile } from './figures.ts';
import type { Window } from './rollback-clients.ts';
import { type Noticed, onRollbackLine, type RollbackLine } from './rollback-line.ts';
import { type Busy, isQuiet, watched } from './rounds.ts';

export const ROLLBACK_SIZES = {
  /** With second legs; as many events a second. */
  sessions: 5_000,
  /** Without them; as many events a second. */
  unshadowed: 1_000,
  /** From one side to the other, of so many sessions. */
  flips: 1_000,
  flipping: 50,
  /** By another user's name in what one of so many is sent; as many events a second. */
  leaks: 100,
  leaking: 500,
};

/** Legs are known to be in step once they were both there for the judge's window. */
const WARM_UP_MS = 8_000;
const BEFORE_MS = 3_000;
const AROUND_MS = 500;
const AFTER_MS = 2_000;
const FLIPPING_PER_SECOND = 1_000;
/** A rollback's dials each take a handshake and this much of both legs together, behind the pace. */
const DIALLED_OVERLAP_MS = 250;
const PLANNED_OVERLAP_MS = 5_000;
const HANDSHAKES_MS = 1_000;
/** The default of `limits.movesPerS`. */
const MOVES_PER_S = 500;

/** From the last byte of an event that names somebody else, ms. */
interface ByLeak extends Noticed {
  readonly leaks: number;
  readonly sessions: number;
  /** Until the rollback began. */
  readonly begunMs: Readonly<Record<'p50' | 'p99' | 'slowest', number>>;
  /** Until the candidate's last byte was handed to a client's socket. */
  readonly lastByteMs: Readonly<Record<'p50' | 'p99' | 'slowest', number>>;
  readonly busy: Busy;
}

interface Moves {
  /** From the command until the last session was there. */
  readonly tookMs: number;
  /** The most that were dialled for within any second. */
  readonly dialsPerS: number;
}

export interface RollbackResult extends Noticed {
  readonly sessions: number;
  /** Of them, those whose second leg stood by. */
  readonly shadowed: number;
  /** From the request to the last byte of the candidate's that a client read. */
  readonly commandToLastCandidateByteMs: number;
  /** The same to when it was handed to a client's socket; to the command itself where none was. */
  readonly proofSaysMs: number;
  readonly p99Ms: Readonly<Record<Window, number>>;
  readonly unshadowed: Noticed & {
    readonly sessions: number;
    readonly toCandidate: Moves;
    readonly toLegacy: Moves;
  };
  readonly flips: Noticed & { readonly count: number; readonly sessions: number };
  readonly byLeak: ByLeak;
  readonly noise: Busy & { readonly latency: 'quiet enough' | 'too noisy to tell' };
  readonly targets: readonly RollbackTarget[];
}

interface RollbackTarget {
  readonly what: string;
  readonly value: number;
  readonly most: number;
  readonly met: boolean;
  /** False: the machine was too noisy to tell. */
  readonly told: boolean;
}

export async function benchRollback({
  json,
  ...sizes
}: typeof ROLLBACK_SIZES & { json: boolean }): Promise<RollbackResult> {
  const say = (text: string) => (json ? undefined : console.log(text));
  say(`${sizes.sessions} sessions with second legs …`);
  const warm = await onRollbackLine(sizes.sessions, 'live', warmRollback);
  say(`${sizes.unshadowed} sessions without …`);
  const unshadowed = await onRollbackLine(sizes.unshadowed, 'off', movesWithoutSecondLegs);
  say(`${sizes.flips} flips of ${sizes.flipping} sessions …`);
  const flips = await onRollbackLine(sizes.flipping, 'live', line => flip(line, sizes.flips));
  say(`${sizes.leaks} leaks among ${sizes.leaking} sessions …`);
  const byLeak = await onRollbackLine(sizes.leaking, 'live', line => leaks(line, sizes.leaks));
  const latency = isQuiet(warm) ? 'quiet enough' : 'too noisy to tell';
  const { busy, ...rest } = warm;
  const { total, foreign } = busy;
  const result = { ...rest, unshadowed, flips, byLeak };
  const noise = { total: rounded(total), foreign: rounded(foreign), latency } as const;
  const targets = targetsOf(result, latency === 'quiet enough');
  if (!json) {
    console.log(result);
    for (const { what, value, most, met, told } of targets) {
      const untold = told ? '' : ' (too noisy to tell)';
      console.log(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value} of at most ${most}${untold}`);
    }
    const percent = (share: number) => `${Math.round(share * 100)} %`;
    console.log(`machine ${percent(total)} busy, ${percent(foreign)} by others: ${latency}`);
  }
  return { ...result, noise, targets };
}

async function warmRollback(line: RollbackLine) {
  await line.begin(line.users);
  await line.allWarm();
  await pause(WARM_UP_MS);
  const { rollback } = await line.events();
  await line.beginTiming();
  const { result, busy } = await watched(line.pids, async () => {
    await pause(BEFORE_MS + AROUND_MS);
    const commandUs = nowUs();
    const proof = await line.rollBack(false);
    await pause(Math.max(0, AROUND_MS + AFTER_MS - (nowUs() - commandUs) / 1_000));
    return { commandUs, proof };
  });
  const { commandUs, proof } = result;
  const at = (ms: number) => commandUs + ms * 1_000;
  const { p99Ms, lastCandidateUs, ...noticed } = await line.end({
    sinceUs: commandUs,
    windows: {
      before: [at(-BEFORE_MS - AROUND_MS), at(-AROUND_MS)],
      during: [at(-AROUND_MS), at(AROUND_MS)],
      after: [at(AROUND_MS), at(AROUND_MS + AFTER_MS)],
    },
  });
  const said = proof.lastCandidateByte ?? proof.command;
  return {
    ...{ sessions: line.users, shadowed: rollback?.warm ?? 0, ...noticed },
    commandToLastCandidateByteMs: rounded(((lastCandidateUs ?? commandUs) - commandUs) / 1_000),
    proofSaysMs: rounded(said.monotonicMs - commandUs / 1_000),
    p99Ms: {
      before: rounded(p99Ms.before),
      during: rounded(p99Ms.during),
      after: rounded(p99Ms.after),
    },
    busy,
  };
}

/** A planned move to the candidate alone, and the way back that must be asked for twice. */
async function movesWithoutSecondLegs(line: RollbackLine) {
  await line.begin(line.users);
  await pause(AROUND_MS);
  let from = performance.now();
  await line.proxy.ask('/stage', { route: 'events', stage: 'complete' });
  await line.allOn('candidate');
  const toCandidate = {
    tookMs: Math.round(performance.now() - from),
    dialsPerS: (await line.dialsPerS()).candidate,
  };
  // Legs of before are let go within that.
  await pause(AFTER_MS);
  await line.dialsPerS();
  from = performance.now();
  const { sessions } = await line.rollBack(true);
  if (sessions.redialled !== line.users)
    throw new Error(`${sessions.redialled} of ${line.users} were dialled for`);
  const toLegacy = {
    tookMs: Math.round(performance.now() - from),
    dialsPerS: (await line.dialsPerS()).legacy,
  };
  await pause(AFTER_MS);
  const { p99Ms: _, lastCandidateUs: __, ...noticed } = await line.end(NOT_TIMED);
  return { sessions: line.users, ...noticed, toCandidate, toLegacy };
}

async function flip(line: RollbackLine, count: number) {
  await line.begin(FLIPPING_PER_SECOND);
  await line.allWarm();
  for (let flips = 0; flips < count; flips += 1) {
    if (flips % 2 === 0) await line.rollBack(false);
    else await line.proxy.ask('/release', { reason: 'benchmark' });
    await line.allOn(flips % 2 === 0 ? 'legacy' : 'candidate');
  }
  const { p99Ms: _, lastCandidateUs: __, ...noticed } = await line.end(NOT_TIMED);
  return { count, sessions: line.users, ...noticed };
}

/** One leak after another, each of which takes everybody back; then they go to the candidate again. */
async function leaks(line: RollbackLine, count: number): Promise<ByLeak> {
  await line.begin(line.users);
  await line.allWarm();
  await pause(WARM_UP_MS);
  const begunMs: number[] = [];
  const lastByteMs: number[] = [];
  const { busy } = await watched(line.pids, async () => {
    let last: string | null = null;
    for (let nth = 0; nth < count; nth += 1) {
      const leakedMs = (await line.leak((nth * 7) % line.users)) / 1_000;
      const { id, command, lastCandidateByte } = await line.rolledBack(last);
      last = id;
      begunMs.push(command.monotonicMs - leakedMs);
      lastByteMs.push((lastCandidateByte ?? command).monotonicMs - leakedMs);
      await line.proxy.ask('/release', { route: 'events', reason: 'benchmark' });
      await line.allOn('candidate');
    }
  });
  const { p99Ms: _, lastCandidateUs: __, ...noticed } = await line.end(NOT_TIMED);
  const times = { begunMs: spreadOf(begunMs), lastByteMs: spreadOf(lastByteMs) };
  return { ...noticed, leaks: count, sessions: line.users, ...times, busy };
}

function spreadOf(times: readonly number[]) {
  const at = (share: number) => rounded(quantile(times, share));
  return { p50: at(0.5), p99: at(0.99), slowest: at(1) };
}

const NOT_TIMED = { sinceUs: 0, windows: {} };

function targetsOf(
  result: Omit<RollbackResult, 'noise' | 'targets'>,
  isQuietEnough: boolean,
): RollbackTarget[] {
  const { unshadowed, flips, byLeak, p99Ms, sessions, shadowed } = result;
  const { toCandidate, toLegacy } = unshadowed;
  const paceMs = (unshadowed.sessions / MOVES_PER_S) * 1_000 + HANDSHAKES_MS;
  const counted = (what: string, noticed: Noticed) => {
    const { disconnects, lost, duplicated, outOfOrder } = noticed;
    return Object.entries({ disconnects, lost, duplicated, 'out of order': outOfOrder }).map(
      ([name, value]) => target(`${what}: ${name}`, value, 0),
    );
  };
  const timed = (what: string, value: number, most: number) => ({
    ...target(what, rounded(value), rounded(most)),
    told: isQuietEnough,
  });
  const { commandToLastCandidateByteMs: lastMs, proofSaysMs: saidMs } = result;
  return [
    timed("ms from command to the candidate's last byte", lastMs, 100),
    timed('ms between that and the proof', Math.abs(lastMs - saidMs), 20),
    timed('p99 around the switch in ms', p99Ms.during, 3 * p99Ms.before),
    target('sessions without a second leg', sessions - shadowed, 0),
    ...counted('with second legs', result),
    ...counted('without second legs', unshadowed),
    timed('ms until all are on the candidate', toCandidate.tookMs, paceMs + PLANNED_OVERLAP_MS),
    timed('ms until all are on legacy', toLegacy.tookMs, paceMs + DIALLED_OVERLAP_MS),
    // A service may be given what waited for it a moment later: a tenth more within a second.
    target('dials a second of the candidate', toCandidate.dialsPerS, 1.1 * MOVES_PER_S),
    target('dials a second of legacy', toLegacy.dialsPerS, 1.1 * MOVES_PER_S),
    ...counted('flips', flips),
    {
      ...target('ms from a leak to the rollback that it causes, p99', byLeak.begunMs.p99, 100),
      told: isQuiet(byLeak),
    },
    ...counted('by leaks', byLeak),
  ];
}

function target(what: string, value: number, most: number): RollbackTarget {
  return { what, value, most, met: value <= most, told: true };
}
