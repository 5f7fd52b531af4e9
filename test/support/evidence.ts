// Builder of kept evidence for tests: the real thread with a real file, fed as a judge feeds it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { Evidence } from '../../src/control/evidence/evidence.ts';
import { EvidenceLine } from '../../src/judge/evidence-line.ts';
import type { EvidenceSink } from '../../src/ports.ts';
import type { Difference, Finding } from '../../src/rules/verdict.ts';
import { loadedConfig, type ProxyOptions } from './proxy.ts';
import { until } from './until.ts';

export const KEY = new Uint8Array(32).fill(7);

/** A thread begins in a tenth of a second, on a busy machine in ten; catches a hang. */
const LIMIT_MS = 60_000;

export interface EvidenceOptions {
  readonly limits?: { maxRows?: number; examples?: number; maxMb?: number; maxAgeDays?: number };
  readonly redact?: string[];
  /** Kept there, and left there; a folder of its own without it. */
  readonly folder?: string;
}

export interface TestEvidence {
  readonly evidence: Evidence;
  readonly folder: string;
  readonly file: string;
  readonly logged: string[];
  /** Hands findings over and waits until they are dealt with. */
  keep(...findings: readonly Finding[]): Promise<void>;
  /** Ends every unit under way. */
  endUnits(): Promise<void>;
  close(): Promise<void>;
}

export function finding(rest: Partial<Finding> = {}): Finding {
  return {
    ...{ verdict: 'mismatch', because: null, route: 'events', eventType: 'agent_started' },
    ...{ key: 'k1:agent_started:run_9', unit: 'run_9', session: 's_1', at: Date.now() },
    ...{ sides: ['legacy', 'candidate'], legacy: { a: 1 }, candidate: { a: 2 } },
    ...{ differences: [differs('/a', 1, 2)], ...rest },
  };
}

export function differs(at: string, legacy: unknown, candidate: unknown): Difference {
  return { kind: 'value', path: at, legacy, candidate };
}

export function evidenceConfig(limits: EvidenceOptions['limits'] = {}, redact: string[] = []) {
  const options: ProxyOptions = {
    legacy: 9001,
    routes: [
      { name: 'events', path: '/ws', protocol: 'websocket', redact },
      { name: 'api', path: '/api/*', protocol: 'http' },
    ],
  };
  const { config } = loadedConfig(options);
  return { ...config, evidence: { ...config.evidence, ...limits } };
}

/** Feeds evidence as a judge does, without a rest. */
export function feeder(sink: EvidenceSink): Pick<TestEvidence, 'keep' | 'endUnits'> {
  const line = new EvidenceLine(0);
  sink.supply((port, examples) => line.use(port, examples));
  const deal = async (nowMs: number) => {
    await until('the line is free', () => line.isFree, LIMIT_MS);
    line.flush(nowMs);
    await until('the batch is dealt with', () => line.isFree, LIMIT_MS);
  };
  return {
    async keep(...findings) {
      for (const each of findings) line.add(each);
      await deal(0);
    },
    endUnits: () => deal(Number.POSITIVE_INFINITY),
  };
}

export async function evidence(options: EvidenceOptions = {}): Promise<TestEvidence> {
  const folder = options.folder ?? (await mkdtemp(path.join(tmpdir(), 'cutover-evidence-')));
  const logged: string[] = [];
  const logger = pino({ level: 'info' }, { write: line => void logged.push(line) });
  const store = new Evidence(evidenceConfig(options.limits, options.redact), logger);
  store.keepIn(folder, KEY);
  return {
    ...{ evidence: store, folder, file: path.join(folder, 'evidence.sqlite'), logged },
    ...feeder(store),
    async close() {
      await store.close();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}
