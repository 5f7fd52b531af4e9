// The judge's books for Prometheus: the judge keeps the totals, here they are only shown.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { JudgeView } from '../ports.ts';
import { SIDES } from '../rules/decide.ts';
import { UNJUDGED, VERDICTS } from '../rules/verdict.ts';

const VERDICT_NAMES = Object.keys(VERDICTS) as (keyof typeof VERDICTS)[];
const REASON_NAMES = Object.keys(UNJUDGED) as (keyof typeof UNJUDGED)[];

export function judgeMetrics(registry: Registry, judge: JudgeView): void {
  const registers = [registry];
  new Counter({
    name: 'cutover_events_judged_total',
    help: 'Events of both services that have a verdict, by side and verdict; unjudged has its reasons apart.',
    labelNames: ['route', 'side', 'verdict'],
    registers,
    collect() {
      this.reset();
      for (const [route, books] of judge.books()) {
        for (const side of SIDES) {
          for (const verdict of VERDICT_NAMES) {
            if (verdict === 'unjudged') continue;
            this.inc({ route, side, verdict }, books[side][verdict]);
          }
        }
      }
    },
  });
  new Counter({
    name: 'cutover_events_unjudged_total',
    help: 'Events of which nothing can be said, by side and reason.',
    labelNames: ['route', 'side', 'because'],
    registers,
    collect() {
      this.reset();
      for (const [route, books] of judge.books()) {
        for (const side of SIDES) {
          for (const because of REASON_NAMES) {
            this.inc({ route, side, because }, books[side].unjudged[because]);
          }
        }
      }
    },
  });
  new Gauge({
    name: 'cutover_events_pending',
    help: 'Events that wait for their pair.',
    labelNames: ['route', 'side'],
    registers,
    collect() {
      this.reset();
      for (const [route, books] of judge.books()) {
        for (const side of SIDES) this.set({ route, side }, books[side].pending);
      }
    },
  });
  const total = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  total(
    'cutover_judge_restarts_total',
    'Times that the judge failed and began anew.',
    () => judge.restarts,
  );
  total(
    'cutover_judge_failures_total',
    'Events and answers at which comparing itself failed.',
    () => judge.failures,
  );
  total(
    'cutover_judge_left_out_bytes_total',
    'Bytes that were not compared, because the judge was behind.',
    () => judge.bytesLeftOut,
  );
  total(
    'cutover_judge_unheard_bytes_total',
    'Bytes of legacy to users who are not compared that were not heard: the judge was behind, or began anew.',
    () => judge.bytesUnheard,
  );
  total(
    'cutover_judge_unheard_streams_total',
    'Times that a stream of a user who is not compared was not heard, since as many as are heard were open.',
    () => judge.streamsUnheard,
  );
}
