// How often the judge hands evidence over.
import { MessageChannel } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { EvidenceLine } from '../../src/judge/evidence-line.ts';
import type { FromEvidenceLine, ToEvidenceLine } from '../../src/rules/evidence-batch.ts';
import { finding } from '../support/evidence.ts';
import { until } from '../support/until.ts';

// The fault: a route on which something is counted all the time wrote ten transactions a second for it.
test('the first finding after a time without goes at once, and what comes soon after it waits and goes together', async () => {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port2.close());
  const batches: { at: number; counts: number[] }[] = [];
  port2.on('message', (told: FromEvidenceLine) => {
    if (told.kind !== 'batch') return;
    batches.push({ at: performance.now(), counts: told.batch.groups.map(({ count }) => count) });
    port2.postMessage({ kind: 'done' } satisfies ToEvidenceLine);
  });
  const line = new EvidenceLine();
  line.use(port1, 10);
  const gathered = async (what: string, enough: () => boolean) =>
    until(what, () => {
      line.flush(0);
      return enough();
    });
  line.add(finding());
  line.flush(0);
  expect(line.isFree).toBe(false);
  await gathered('the first has come', () => batches.length === 1);
  line.add(finding());
  line.flush(0);
  line.add(finding());
  await gathered('both others have come', () => batches.length === 2);
  expect(batches.map(({ counts }) => counts)).toEqual([[1], [2]]);
  const [first = 0, second = 0] = batches.map(({ at }) => at);
  expect(second - first).toBeGreaterThan(450);
});
