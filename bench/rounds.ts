// Turns of the compared ones, A B A B: in every round each has its turn, so that whatever else the
// machine does meets all of them; and a watch on how much else it did.
import os from 'node:os';
import { cpuUs, machineBusyUs } from './machine.ts';

/** Rounds at least, of which medians are taken. */
export const LEAST_ROUNDS = 5;
/** Rounds at most, where the machine is too busy for latencies. */
export const MOST_ROUNDS = 9;
/** A latency is only told from turns in which all CPUs together were less busy than this. */
export const MOST_BUSY = 0.6;

/** How busy the machine was in a turn, in shares of all its CPUs. */
export interface Busy {
  /** Everything. */
  readonly total: number;
  /** By processes that are none of the benchmark's. */
  readonly foreign: number;
}

/** Runs `turn` and watches the machine; `pids` are the benchmark's own processes. */
export async function watched<T>(
  pids: readonly number[],
  turn: () => Promise<T>,
): Promise<{ readonly result: T; readonly busy: Busy }> {
  const before = { at: performance.now(), all: machineBusyUs(), own: cpuUs(pids) };
  const result = await turn();
  const capacityUs = (performance.now() - before.at) * 1_000 * os.availableParallelism();
  const total = (machineBusyUs() - before.all) / capacityUs;
  const own = (cpuUs(pids) - before.own) / capacityUs;
  return { result, busy: { total, foreign: Math.max(0, total - own) } };
}

/** The names in the order of a round: who begins moves on by one each time. */
export function orderOf<T>(names: readonly T[], round: number): T[] {
  const first = round % names.length;
  return [...names.slice(first), ...names.slice(0, first)];
}
