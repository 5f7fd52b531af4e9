// Turns of the compared ones, A B A B: in every round each has its turn, so that whatever else the
// machine does meets all of them; and a watch on how much else it did.
import os from 'node:os';
import { cpuUs, machineBusyUs } from './machine.ts';
import type { Contestant } from './stage.ts';

/** Rounds at least, of which medians are taken. */
export const LEAST_ROUNDS = 5;
/** Rounds at most, where the machine is too busy for latencies. */
const MOST_ROUNDS = 9;
/** A latency is only told from turns in which all CPUs together were less busy than this. */
const MOST_BUSY = 0.6;
/** Others' share of the CPUs beyond which a latency says more about them than about the proxy. */
const MOST_FOREIGN = 0.1;

/** How busy the machine was in a turn, in shares of all its CPUs. */
export interface Busy {
  /** Everything. */
  readonly total: number;
  /** By processes that are none of the benchmark's. */
  readonly foreign: number;
}

/** What one turn of one contestant gave. A unit is an event or a request that reached its client. */
export interface Turn {
  /** Null without a proxy. */
  readonly cpuUsPerUnit: number | null;
  readonly unitsPerSec: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** While the latencies were taken. */
  readonly busy: Busy;
  /** While CPU was taken, where that is told: whoever has the CPUs just then is most of it. */
  readonly p99BusyMs?: number;
}

export type Turns<Name extends string = Contestant> = ReadonlyMap<Name, readonly Turn[]>;

/** Five rounds, or more where too few turns were quiet. Who begins moves on by one each time. */
export async function takeTurns<Name extends string, L extends { readonly name: Name }>(
  lines: readonly L[],
  turnOf: (line: L) => Promise<Turn>,
  say: (text: string) => void,
): Promise<Turns<L['name']>> {
  const turns = new Map<L['name'], Turn[]>(lines.map(({ name }) => [name, []]));
  let round = 0;
  while (round < LEAST_ROUNDS || (round < MOST_ROUNDS && !areQuiet(turns))) {
    const first = round % lines.length;
    for (const line of [...lines.slice(first), ...lines.slice(0, first)]) {
      const turn = await turnOf(line);
      turns.get(line.name)?.push(turn);
      say(sentence(line.name, turn));
    }
    round += 1;
  }
  return turns;
}

/** Runs `work` and watches the machine; `pids` are the benchmark's own processes. */
export async function watched<T>(
  pids: readonly number[],
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly busy: Busy }> {
  const before = { at: performance.now(), all: machineBusyUs(), own: cpuUs(pids) };
  const result = await work();
  const capacityUs = (performance.now() - before.at) * 1_000 * os.availableParallelism();
  const total = (machineBusyUs() - before.all) / capacityUs;
  const own = (cpuUs(pids) - before.own) / capacityUs;
  return { result, busy: { total, foreign: Math.max(0, total - own) } };
}

/** True if its latencies can be told. */
export function isQuiet({ busy }: Pick<Turn, 'busy'>): boolean {
  return busy.total <= MOST_BUSY && busy.foreign <= MOST_FOREIGN;
}

/** True if there are enough quiet turns of everybody. */
export function areQuiet(turns: Turns<string>): boolean {
  return [...turns.values()].every(all => all.filter(isQuiet).length >= LEAST_ROUNDS);
}

function sentence(name: string, { cpuUsPerUnit, unitsPerSec, p50Ms, p99Ms, busy }: Turn): string {
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  return [
    name.padEnd(10),
    `${cpuUsPerUnit?.toFixed(1) ?? '-'} µs at ${Math.round(unitsPerSec)}/s,`,
    `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms;`,
    `machine ${percent(busy.total)} busy, ${percent(busy.foreign)} by others`,
  ].join(' ');
}
