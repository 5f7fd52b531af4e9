// What is counted of rollbacks and the audit trail, for Prometheus.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Audit } from './audit.ts';
import { ASKERS, type Rollbacks } from './rollbacks.ts';

export function rollbackMetrics(
  registry: Registry,
  sources: {
    readonly rollbacks: Pick<Rollbacks, 'latch' | 'proofs' | 'counts'>;
    readonly audit: Pick<Audit, 'unkept'>;
  },
): void {
  const { rollbacks, audit } = sources;
  const registers = [registry];
  new Gauge({
    name: 'cutover_latched',
    help: '1 for each scope that a rollback holds on legacy: a route, or * for all.',
    labelNames: ['scope', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { scope, state } of rollbacks.latch.held) this.set({ scope, state }, 1);
    },
  });
  new Counter({
    name: 'cutover_rollbacks_total',
    help: 'Rollbacks that changed something, by who asked.',
    labelNames: ['by'],
    registers,
    collect() {
      this.reset();
      for (const by of ASKERS) this.inc({ by }, rollbacks.counts[by]);
    },
  });
  new Gauge({
    name: 'cutover_rollback_last_seconds',
    help: 'From the command of the last rollback to its last session or answer; absent before one.',
    registers,
    collect() {
      const { lastMs } = rollbacks.proofs;
      if (lastMs === null) this.remove();
      else this.set(lastMs / 1_000);
    },
  });
  new Counter({
    name: 'cutover_audit_unkept_total',
    help: 'Changes towards legacy that could not be put on record.',
    registers,
    collect() {
      this.reset();
      this.inc(audit.unkept);
    },
  });
}
