import { expect, test } from 'vitest';
import { eventKeyOf } from '../../src/broadcast/event-key.ts';
import { listen, service } from './listener.ts';

test('with jitter every frame arrives, later than without, and none overtakes another', async () => {
  const sent: string[] = [];
  const onWritten = (_: string, key: string) => void sent.push(key);
  const broadcaster = await service({ kind: 'ssot', jitterMs: 100, onWritten });
  const alice = await listen(broadcaster.url, 'alice');
  const runs = 20;
  const beganMs = performance.now();
  for (let n = 0; n < runs; n += 1) {
    alice.say({ type: 'start_agent', message: 'hello', message_id: `m${n}` });
  }
  const events = await alice.gets(5 * runs, event => event.run_id !== undefined);
  // The latest of a hundred draws decides: within 50 ms of none there is no chance.
  expect(performance.now() - beganMs).toBeGreaterThan(50);
  expect(sent).toHaveLength(5 * runs);
  expect(events.map(eventKeyOf)).toEqual(sent);
  await broadcaster.close();
});
