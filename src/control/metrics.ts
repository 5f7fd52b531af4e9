// What is counted for Prometheus. Labels are route, side and closed lists: never a user, a path, or
// anything else that a client could make up.
import { readdir } from 'node:fs/promises';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { JudgeView, LaneCounters, TrafficView } from '../ports.ts';
import type { Audit } from './audit.ts';
import type { Bypass } from './bypass.ts';
import type { Evidence } from './evidence/evidence.ts';
import type { EvidenceUse } from './evidence/kept.ts';
import type { FlagProvider } from './flags/provider.ts';
import { FETCH_OUTCOMES } from './flags/unleash-fetch.ts';
import { guardrailMetrics } from './guardrail-metrics.ts';
import type { Guardrails } from './guardrails.ts';
import type { Incidents } from './incidents.ts';
import { isolationMetrics } from './isolation-metrics.ts';
import { judgeMetrics } from './judge-metrics.ts';
import type { LaneIsolation } from './lane-isolation.ts';
import { rollbackMetrics } from './rollback-metrics.ts';
import type { Rollbacks } from './rollbacks.ts';
import { type TrafficMeter, trafficMeter } from './traffic-meter.ts';
import { writeMetrics } from './write-metrics.ts';
import type { WriteSplits } from './write-splits.ts';

/**
 * Default metrics that walk over every socket on the event loop: at 10,000 sockets 14 ms of a
 * scrape's 18 ms, in which no client is served.
 */
const WALKERS = [
  'process_open_fds',
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
  'nodejs_active_resources',
  'nodejs_active_resources_total',
];

export interface Metrics extends TrafficMeter {
  readonly contentType: string;
  /** Everything, in the Prometheus text format. */
  text(): Promise<string>;
}

export interface MetricsSources {
  /** Null before the listener is open. */
  readonly traffic: () => TrafficView | null;
  readonly flags: Pick<FlagProvider, 'revision' | 'loadedAt' | 'problems'> &
    Partial<Pick<FlagProvider, 'remote'>>;
  readonly bypass: Pick<Bypass, 'engaged'>;
  readonly rollbacks: Pick<Rollbacks, 'latch' | 'proofs' | 'counts'>;
  readonly guardrails: Pick<Guardrails, 'counts'>;
  readonly isolation: Pick<LaneIsolation, 'register'>;
  readonly incidents: Pick<Incidents, 'counts' | 'unkept'>;
  readonly audit: Pick<Audit, 'unkept'>;
  readonly writes: Pick<WriteSplits, 'counts' | 'unkept'>;
  readonly evidence: Pick<Evidence, 'state'>;
  readonly judge: JudgeView;
}

/** A registry of its own, so that several proxies can live in one process. */
export function createMetrics(sources: MetricsSources): Metrics {
  const { traffic, flags, bypass, writes, evidence, judge } = sources;
  const registry = new Registry();
  const registers = [registry];
  processMetrics(registry);
  flagMetrics(registry, flags);
  fetchMetrics(registry, flags);
  trafficMetrics(registry, traffic);
  writeMetrics(registry, writes);
  new Gauge({
    name: 'cutover_bypass_engaged',
    help: '1 while an operator sends everything straight to legacy.',
    registers,
    collect() {
      this.set(bypass.engaged === null ? 0 : 1);
    },
  });
  rollbackMetrics(registry, sources);
  guardrailMetrics(registry, sources.guardrails);
  sources.isolation.register(registry);
  isolationMetrics(registry, sources.incidents, judge);
  judgeMetrics(registry, judge);
  evidenceMetrics(registry, evidence);

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    ...trafficMeter(registry),
  };
}

function processMetrics(register: Registry): void {
  collectDefaultMetrics({ register });
  for (const name of WALKERS) register.removeSingleMetric(name);
  if (process.platform !== 'linux') return;
  new Gauge({
    name: 'process_open_fds',
    help: 'Open file descriptors, counted off the event loop.',
    registers: [register],
    async collect() {
      // Where /proc is not mounted there is no figure to give.
      const fds = await readdir('/proc/self/fd').catch(() => null);
      if (fds === null) this.remove();
      else this.set(fds.length);
    },
  });
}

function flagMetrics(registry: Registry, flags: MetricsSources['flags']): void {
  const registers = [registry];
  new Gauge({
    name: 'cutover_flags_age_seconds',
    help: 'Since the flags in force were read; absent while none are known.',
    registers,
    collect() {
      if (flags.loadedAt === null) this.remove();
      else this.set((Date.now() - flags.loadedAt) / 1_000);
    },
  });
  new Gauge({
    name: 'cutover_flags_revision_info',
    help: 'Always 1; the label tells the revision of the flags in force.',
    labelNames: ['revision'],
    registers,
    collect() {
      this.reset();
      this.set({ revision: flags.revision }, 1);
    },
  });
  new Gauge({
    name: 'cutover_flag_problems',
    help: 'Problems of the flags: refused files and lint.',
    labelNames: ['level'],
    registers,
    collect() {
      const problems = flags.problems();
      for (const level of ['error', 'warning'] as const) {
        this.set({ level }, problems.filter(problem => problem.level === level).length);
      }
    },
  });
}

/** There without a flag server too, at nothing, so that alerts and dashboards find them. */
function fetchMetrics(registry: Registry, { remote = null }: MetricsSources['flags']): void {
  const registers = [registry];
  new Counter({
    name: 'cutover_flag_fetches_total',
    help: 'Looks at the flag server, by how they ended.',
    labelNames: ['outcome'],
    registers,
    // The source keeps the totals; here they are only shown.
    collect() {
      this.reset();
      for (const outcome of FETCH_OUTCOMES) this.inc({ outcome }, remote?.fetches[outcome] ?? 0);
    },
  });
  new Gauge({
    name: 'cutover_flags_unconfirmed_seconds',
    help: 'Since the flag server last confirmed the flags in force; absent until it has.',
    registers,
    collect() {
      const confirmedAt = remote?.confirmedAt ?? null;
      if (confirmedAt === null) this.remove();
      else this.set((Date.now() - confirmedAt) / 1_000);
    },
  });
}

/** The evidence thread keeps the totals; here they are only shown. */
function evidenceMetrics(registry: Registry, evidence: MetricsSources['evidence']): void {
  const registers = [registry];
  new Counter({
    name: 'cutover_evidence_kept_total',
    help: 'Findings that were written with their events, redacted.',
    registers,
    collect() {
      this.reset();
      this.inc(evidence.state.kept);
    },
  });
  new Counter({
    name: 'cutover_evidence_dropped_total',
    help: 'Findings of which no example, or none with its events, could be kept, by cause.',
    labelNames: ['cause'],
    registers,
    collect() {
      this.reset();
      for (const [cause, count] of Object.entries(evidence.state.dropped)) {
        this.inc({ cause }, count);
      }
    },
  });
  const gauge = (name: string, help: string, of: keyof EvidenceUse) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const { use } = evidence.state;
        if (use === null) this.remove();
        else this.set(use[of]);
      },
    });
  gauge('cutover_evidence_rows', 'Examples that are kept at present.', 'rows');
  gauge('cutover_evidence_bytes', 'What kept evidence takes of its file.', 'bytes');
}

function trafficMetrics(registry: Registry, traffic: MetricsSources['traffic']): void {
  const registers = [registry];
  const counters = () => traffic()?.counters() ?? [];
  new Gauge({
    name: 'cutover_connecting',
    help: 'WebSocket handshakes that are under way.',
    registers,
    collect() {
      this.set(traffic()?.connecting ?? 0);
    },
  });
  new Counter({
    name: 'cutover_idle_connections_closed_total',
    help: 'Idle HTTP connections of clients, closed early because descriptors were low, or exhausted when a service was dialled.',
    labelNames: ['cause'],
    registers,
    collect() {
      this.reset();
      for (const [cause, count] of Object.entries(traffic()?.letGo ?? {}))
        this.inc({ cause }, count);
    },
  });
  new Gauge({
    name: 'cutover_sessions_open',
    help: 'Open WebSocket sessions.',
    labelNames: ['route', 'side'],
    registers,
    collect() {
      this.reset();
      for (const lane of counters()) {
        this.set({ route: lane.route, side: lane.side }, lane.counters.sessionsOpen);
      }
    },
  });
  new Gauge({
    name: 'cutover_second_legs_open',
    help: 'Open second legs of sessions, by the side that is compared or stands by.',
    labelNames: ['route', 'side'],
    registers,
    collect() {
      this.reset();
      for (const lane of counters()) {
        this.set({ route: lane.route, side: lane.side }, lane.counters.secondLegsOpen);
      }
    },
  });
  new Gauge({
    name: 'cutover_streams_open',
    help: 'Open streams of events.',
    labelNames: ['route', 'side'],
    registers,
    collect() {
      this.reset();
      for (const lane of counters()) {
        this.set({ route: lane.route, side: lane.side }, lane.counters.streamsOpen);
      }
    },
  });
  const total = (name: string, help: string, to: { [direction: string]: keyof LaneCounters }) =>
    new Counter({
      name,
      help,
      labelNames: ['route', 'side', 'direction'],
      registers,
      // The lanes keep the totals; here they are only shown.
      collect() {
        this.reset();
        for (const { route, side, counters: counted } of counters()) {
          for (const [direction, field] of Object.entries(to)) {
            this.inc({ route, side, direction }, counted[field]);
          }
        }
      },
    });
  total(
    'cutover_bytes_total',
    'Bytes that were passed on, by direction: of WebSockets, and of HTTP bodies.',
    {
      to_client: 'bytesToClient',
      to_upstream: 'bytesToUpstream',
    },
  );
  total('cutover_messages_total', 'WebSocket data messages that were begun, by direction.', {
    to_client: 'messagesToClient',
    to_upstream: 'messagesToUpstream',
  });
}
