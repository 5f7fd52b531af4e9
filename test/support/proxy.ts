// Builder of a proxy's traffic side for tests: the real lanes on a real socket, with a decision and
// an ear for what is reported.
import pino from 'pino';
import type { z } from 'zod';
import type { Loaded } from '../../src/config/load.ts';
import { ConfigSchema } from '../../src/config/schema.ts';
import type {
  Decider,
  HandoverCounts,
  Prevented,
  Tap,
  TwinSampling,
  WriteSplit,
} from '../../src/ports.ts';
import type { Decision, Side } from '../../src/rules/decide.ts';
import { Traffic } from '../../src/traffic/traffic.ts';
import { Ear } from './ear.ts';

type Input = z.input<typeof ConfigSchema>;

export interface ProxyOptions {
  /** Base URLs, or ports on 127.0.0.1. */
  legacy: string | number;
  candidate?: string | number;
  legacyTwin?: string | number;
  routes?: Input['routes'];
  identity?: Input['identity'];
  limits?: Input['limits'];
  upstream?: Partial<Input['upstreams']['legacy']>;
  listen?: Partial<Input['listen']>;
  secrets?: Partial<Loaded['secrets']>;
  decider?: Decider;
  bypassed?: () => boolean;
  /** False: routing fields say nothing; see `IsolationWatch`. */
  fits?: (route: string) => boolean;
  tap?: Tap;
  twins?: TwinSampling;
}

/** One thing that the lanes reported. */
export interface Report {
  kind: 'opened' | 'closed' | 'refused' | 'failed' | 'second-ended' | 'kept' | 'moved' | 'request';
  route: string;
  side: Side | 'none';
  /** Reason, cause, or code, whichever the kind has. */
  what: string;
  /** Of a second leg. */
  role?: string;
  code?: number;
}

export interface Uninspected {
  route: string;
  side: Side;
  because: string;
  withheld: boolean;
}

export interface TestProxy {
  port: number;
  traffic: Traffic;
  reports: Report[];
  /** Outcomes of double writes. */
  splits: WriteSplit[];
  /** What handovers counted. */
  doubts: HandoverCounts[];
  agreed: string[];
  /** Writes that went out, as `<route> <to>`. */
  begun: string[];
  /** What the guards of isolation told. */
  prevented: Prevented[];
  /** Routes of messages that named others beside the client. */
  narrowed: string[];
  /** What failed in the guards themselves. */
  guardFailures: unknown[];
  uninspected: Uninspected[];
  /** Lines of the log, as text. */
  logged: string[];
  close(): Promise<void>;
}

const url = (place: string | number) =>
  typeof place === 'number' ? `http://127.0.0.1:${place}` : place;

/** A decision for one side, as a served user gets it. */
export function decisionFor(primary: Side): Decision {
  return {
    ...{ primary, second: null, overhear: false, writeTo: 'primary', reason: 'serve-flag' },
    ...{ isolation: 'observe', otherIsolation: 'observe' },
  };
}

export function loadedConfig(o: ProxyOptions): Loaded {
  const config = ConfigSchema.parse({
    listen: { host: '127.0.0.1', port: 0, ...o.listen },
    upstreams: {
      legacy: { url: url(o.legacy), ...o.upstream },
      candidate: { url: url(o.candidate ?? o.legacy), ...o.upstream },
      ...(o.legacyTwin === undefined ? {} : { legacyTwin: { url: url(o.legacyTwin) } }),
    },
    routes: o.routes ?? [
      { name: 'events', path: '/ws', protocol: 'websocket' },
      { name: 'api', path: '/api/*', protocol: 'http' },
    ],
    identity: o.identity ?? {},
    limits: o.limits ?? {},
  });
  return { config, file: 'test.yaml', secrets: { ca: {}, ...o.secrets }, noise: {} };
}

export async function proxy(o: ProxyOptions): Promise<TestProxy> {
  const reports: Report[] = [];
  const logged: string[] = [];
  const splits: WriteSplit[] = [];
  const doubts: HandoverCounts[] = [];
  const agreed: string[] = [];
  const begun: string[] = [];
  const prevented: Prevented[] = [];
  const narrowed: string[] = [];
  const guardFailures: unknown[] = [];
  const uninspected: Uninspected[] = [];
  const traffic = new Traffic({
    loaded: loadedConfig(o),
    bypassed: o.bypassed ?? (() => false),
    decider: o.decider ?? (() => ({ decision: decisionFor('legacy'), revision: 'test' })),
    logger: pino({ level: 'debug' }, { write: line => void logged.push(line) }),
    tap: o.tap ?? new Ear(),
    twins: o.twins ?? { take: () => false, isOn: () => false },
    ledger: {
      begun: (route, to) => void begun.push(`${route} ${to}`),
      agreed: route => void agreed.push(route),
      split: split => void splits.push(split),
    },
    isolation: {
      fits: o.fits ?? (() => true),
      prevented: event => void prevented.push(event),
      narrowed: route => void narrowed.push(route),
      failed: (_route, error) => void guardFailures.push(error),
      uninspected: (route, side, because, withheld) =>
        void uninspected.push({ route, side, because, withheld }),
    },
    observer: {
      sessionOpened: (route, side, what) => reports.push({ kind: 'opened', route, side, what }),
      sessionClosed: (route, side, what, code) =>
        reports.push({ kind: 'closed', route, side, what, code }),
      handshakeRefused: (route, side, code) =>
        reports.push({ kind: 'refused', route, side, what: 'refused', code }),
      failed: (route, side, what) => reports.push({ kind: 'failed', route, side, what }),
      sessionMoved: (route, side, what) => reports.push({ kind: 'moved', route, side, what }),
      handoverCounted: counts => void doubts.push(counts),
      secondLegEnded: (route, side, role, what) =>
        reports.push({ kind: 'second-ended', route, side, what, role }),
      sessionKept: (route, side, what) => reports.push({ kind: 'kept', route, side, what }),
      requestDone: (route, side, code, _, what) =>
        reports.push({ kind: 'request', route, side, what, code }),
    },
  });
  const port = await traffic.listen();
  return {
    port,
    traffic,
    reports,
    splits,
    doubts,
    agreed,
    begun,
    prevented,
    narrowed,
    guardFailures,
    uninspected,
    logged,
    close: async () => {
      traffic.close();
    },
  };
}
