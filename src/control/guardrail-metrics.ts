// What is counted of guardrails, for Prometheus.
import { Counter, type Registry } from 'prom-client';
import { type Guardrails, guardrailCounts } from './guardrails.ts';

export function guardrailMetrics(registry: Registry, guardrails: Pick<Guardrails, 'counts'>): void {
  new Counter({
    name: 'cutover_guardrails_fired_total',
    help: 'Guardrails that fired since the start, by what they did.',
    labelNames: ['route', 'rule', 'action'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { route, rule, action, count } of guardrailCounts(guardrails.counts)) {
        this.inc({ route, rule, action }, count);
      }
    },
  });
}
