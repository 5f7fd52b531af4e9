// What turns of all contestants amount to: medians, spreads, ratios to Cutover, and whether the
// machine let them be told.
import os from 'node:os';
import { median, middle, paired } from './figures.ts';
import type { PeerName } from './peers.ts';
import { areQuiet, isQuiet, LEAST_ROUNDS, type Turn, type Turns } from './rounds.ts';
import type { Contestant } from './stage.ts';

/** Quartiles of a ratio further apart than this share of its median tell nothing. */
const MOST_SPREAD = 0.2;

export interface Figures {
  readonly cpuUsPerUnit: number | null;
  readonly unitsPerSec: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly kbPerSocket: number | null;
}

type Range = readonly [number, number];
const RATIOS = {
  toPipe: 'pipe',
  toNginx: 'nginx',
  toHaproxy: 'haproxy',
  toHttpProxy: 'http-proxy',
  toHttpProxyAgent: 'http-proxy-agent',
} as const;
type RatioName = keyof typeof RATIOS;

export interface Comparison {
  readonly peers: Readonly<Partial<Record<Contestant, Figures>>>;
  /** Cutover's CPU per unit over the peer's, in the same round; null where there is no such peer. */
  readonly ratios: Readonly<Record<RatioName, number | null>>;
  /** First and third quartiles. */
  readonly spread: {
    readonly peers: Readonly<
      Partial<Record<Contestant, { cpuUsPerUnit: Range | null; p99Ms: Range }>>
    >;
    readonly ratios: Readonly<Record<RatioName, Range | null>>;
  };
  /** Turns of each contestant. */
  readonly rounds: number;
  /** Whether the machine was quiet enough; `foreign` is the others' median share of the CPUs. */
  readonly noise: {
    readonly foreign: number;
    readonly cpu: 'quiet enough' | 'too noisy to tell';
    readonly latency: 'quiet enough' | 'too noisy to tell';
  };
  readonly targets: readonly TimedTarget[];
  readonly machine: string;
}

/** A figure that is to be reached. */
export interface Target {
  readonly what: string;
  readonly value: number;
  readonly most: number;
  readonly met: boolean;
}

/** One that noise can hide. */
export interface TimedTarget extends Target {
  readonly of: 'cpu' | 'latency' | 'memory';
  /** False: the machine was too noisy to tell. */
  readonly told: boolean;
}

export type TargetsOf = (
  peers: Comparison['peers'],
  ratios: Comparison['ratios'],
) => readonly Omit<TimedTarget, 'met' | 'told'>[];

export function compare(
  turns: Turns,
  kbPerSocket: ReadonlyMap<Contestant, number>,
  targetsOf: TargetsOf,
): Comparison {
  const peers: Partial<Record<Contestant, Figures>> = {};
  const spread: Partial<Record<Contestant, { cpuUsPerUnit: Range | null; p99Ms: Range }>> = {};
  for (const [name, all] of turns) {
    const quiet = all.filter(isQuiet);
    const timed = quiet.length < LEAST_ROUNDS ? all : quiet;
    const cpu = cpuOf(all);
    const p99 = timed.map(turn => turn.p99Ms);
    peers[name] = {
      cpuUsPerUnit: cpu.length === 0 ? null : rounded(median(cpu)),
      unitsPerSec: Math.round(median(all.map(turn => turn.unitsPerSec))),
      p50Ms: rounded(median(timed.map(turn => turn.p50Ms))),
      p99Ms: rounded(median(p99)),
      kbPerSocket: nullable(kbPerSocket.get(name)),
    };
    spread[name] = { cpuUsPerUnit: cpu.length === 0 ? null : range(cpu), p99Ms: range(p99) };
  }
  const ours = cpuOf(turns.get('cutover') ?? []);
  const ratio = mapRatios(name =>
    paired(ours, cpuOf(turns.get(name) ?? [])).filter(Number.isFinite),
  );
  const ratios = mapRatios((_, key) => nullable(median(ratio[key])));
  const ratioSpread = mapRatios((_, key) => (ratio[key].length === 0 ? null : range(ratio[key])));
  const isWide = Object.values(ratio).some(each => {
    const [low, high] = middle(each);
    return high - low > MOST_SPREAD * median(each);
  });
  const noise = {
    foreign: rounded(median([...turns.values()].flat().map(turn => turn.busy.foreign))),
    cpu: isWide ? 'too noisy to tell' : 'quiet enough',
    latency: areQuiet(turns) ? 'quiet enough' : 'too noisy to tell',
  } as const;
  return {
    peers,
    ratios,
    spread: { peers: spread, ratios: ratioSpread },
    rounds: Math.max(...[...turns.values()].map(all => all.length)),
    noise,
    targets: targetsOf(peers, ratios).map(each => ({
      ...each,
      met: each.value <= each.most,
      told: each.of === 'memory' || noise[each.of] === 'quiet enough',
    })),
    machine: `${os.cpus()[0]?.model.trim()} x ${os.availableParallelism()}, Linux ${os.release()}, Node ${process.version}`,
  };
}

/** For people. */
export function printComparison(result: Comparison): void {
  console.table(result.peers);
  console.log('CPU of Cutover to that of', result.ratios, 'quartiles', result.spread.ratios);
  for (const { what, value, most, met, told } of result.targets) {
    const untold = told ? '' : ' (too noisy to tell)';
    console.log(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value} of at most ${most}${untold}`);
  }
  console.log(`${result.rounds} rounds; ${result.machine}`);
  const { foreign, cpu, latency } = result.noise;
  console.log(
    `others used ${Math.round(foreign * 100)} % of the CPUs; CPU figures: ${cpu}; latencies: ${latency}`,
  );
}

function cpuOf(turns: readonly Turn[]): number[] {
  return turns.flatMap(({ cpuUsPerUnit }) => cpuUsPerUnit ?? []);
}

function mapRatios<T>(of: (peer: PeerName, key: RatioName) => T): Record<RatioName, T> {
  const entries = Object.entries(RATIOS) as [RatioName, PeerName][];
  return Object.fromEntries(entries.map(([key, peer]) => [key, of(peer, key)])) as Record<
    RatioName,
    T
  >;
}

function range(values: readonly number[]): Range {
  const [low, high] = middle(values);
  return [rounded(low), rounded(high)];
}

function nullable(value = Number.NaN): number | null {
  return Number.isNaN(value) ? null : rounded(value);
}

/** Three figures are more than a turn can tell. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
