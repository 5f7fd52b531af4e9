// What is counted of writes, for Prometheus.
import { Counter, Gauge, type Registry } from 'prom-client';
import { inFlight, type WriteSplits } from './write-splits.ts';

/** The ledger keeps the totals; here they are only shown. */
export function writeMetrics(
  registry: Registry,
  writes: Pick<WriteSplits, 'counts' | 'unkept'>,
): void {
  const registers = [registry];
  new Counter({
    name: 'cutover_writes_total',
    help: 'Requests that change state, by where they went: primary alone, or both services.',
    labelNames: ['route', 'to'],
    registers,
    collect() {
      this.reset();
      for (const [route, { primary, both }] of writes.counts()) {
        this.inc({ route, to: 'primary' }, primary);
        this.inc({ route, to: 'both' }, both);
      }
    },
  });
  new Gauge({
    name: 'cutover_writes_in_flight',
    help: 'Writes to both services whose end is not known yet.',
    labelNames: ['route'],
    registers,
    collect() {
      this.reset();
      for (const [route, counts] of writes.counts()) this.set({ route }, inFlight(counts));
    },
  });
  new Counter({
    name: 'cutover_write_splits_total',
    help: 'Writes that one service took and the other did not, by cause.',
    labelNames: ['route', 'cause'],
    registers,
    collect() {
      this.reset();
      for (const [route, { splits }] of writes.counts()) {
        for (const [cause, count] of Object.entries(splits)) this.inc({ route, cause }, count);
      }
    },
  });
  new Counter({
    name: 'cutover_write_splits_unkept_total',
    help: 'Splits that are counted and could not be written to the state folder.',
    registers,
    collect() {
      this.reset();
      this.inc(writes.unkept);
    },
  });
}
