// Other users' data, for Prometheus: what was found, and on how much there is to find it.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { JudgeView } from '../ports.ts';
import { SIDES } from '../rules/decide.ts';
import type { Incidents } from './incidents.ts';

export function isolationMetrics(
  registry: Registry,
  incidents: Pick<Incidents, 'counts' | 'unkept'>,
  judge: Pick<JudgeView, 'isolationBooks'>,
): void {
  const registers = [registry];
  new Counter({
    name: 'cutover_contaminations_total',
    help: "Events with another user's data, by who sent them, what told, and what became of them.",
    labelNames: ['route', 'side', 'rule', 'outcome'],
    registers,
    collect() {
      this.reset();
      for (const { count, ...labels } of incidents.counts) this.inc({ ...labels }, count);
    },
  });
  new Counter({
    name: 'cutover_contaminations_on_both_total',
    help: 'Events that both services sent the same user though they name another: no reason to roll back.',
    labelNames: ['route'],
    registers,
    collect() {
      this.reset();
      for (const [route, { sides }] of judge.isolationBooks()) {
        this.inc({ route }, sides.candidate.onBoth);
      }
    },
  });
  new Counter({
    name: 'cutover_isolation_in_doubt_total',
    help: 'What names another user, and may have been asked for in what can not be read, or be what legacy only called unchanged, or was not heard to send: no reason to roll back.',
    labelNames: ['route'],
    registers,
    collect() {
      this.reset();
      for (const [route, { sides }] of judge.isolationBooks()) {
        this.inc({ route }, sides.candidate.inDoubt);
      }
    },
  });
  new Counter({
    name: 'cutover_routing_fields_total',
    help: 'Fields of compared events that say whom they are for.',
    labelNames: ['route', 'side'],
    registers,
    collect() {
      this.reset();
      for (const [route, { sides }] of judge.isolationBooks()) {
        for (const side of SIDES) this.inc({ route, side }, sides[side].fields);
      }
    },
  });
  const causes = (name: string, help: string, of: 'uninspectable' | 'crowded') =>
    new Counter({
      ...{ name, help, labelNames: ['route', 'side', 'because'], registers },
      collect() {
        this.reset();
        for (const [route, { sides }] of judge.isolationBooks()) {
          for (const side of SIDES) {
            const counts: Readonly<Record<string, number>> = sides[side][of];
            for (const [because, count] of Object.entries(counts)) {
              if (count > 0) this.inc({ route, side, because }, count);
            }
          }
        }
      },
    });
  causes(
    'cutover_isolation_unread_total',
    'Compared events and answers that could not be looked into.',
    'uninspectable',
  );
  causes(
    'cutover_isolation_crowded_total',
    'What was given up because too many events waited for the other service, or too much was known, at a time.',
    'crowded',
  );
  new Gauge({
    name: 'cutover_identity_mismatch',
    help: "1 where addresses in legacy's own events do not fit its users, and prove nothing.",
    labelNames: ['route'],
    registers,
    collect() {
      this.reset();
      for (const [route, { identityMismatch }] of judge.isolationBooks()) {
        this.set({ route }, identityMismatch ? 1 : 0);
      }
    },
  });
  new Counter({
    name: 'cutover_incidents_unkept_total',
    help: "Events with another user's data that are counted and not on record: too many, or a disk that refuses.",
    registers,
    collect() {
      this.reset();
      this.inc(incidents.unkept);
    },
  });
}
