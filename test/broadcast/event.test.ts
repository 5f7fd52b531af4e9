import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createUserExecutionContext,
  type UserExecutionContext,
} from '../../src/broadcast/entry-points.ts';
import { epochSeconds, isoMicros, sentAtMs } from '../../src/broadcast/event.ts';
import { eventKeyOf } from '../../src/broadcast/event-key.ts';

test('both forms of timestamp give the send time back to the microsecond', () => {
  const instants = fc.integer({ min: 1.6e15, max: 2e15 }).map(micros => micros / 1000);
  fc.assert(
    fc.property(instants, atMs => {
      for (const timestamp of [epochSeconds(atMs), isoMicros(atMs)]) {
        expect(sentAtMs({ type: 'x', timestamp })).toBeCloseTo(atMs, 2);
      }
      expect(isoMicros(atMs)).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$/);
    }),
  );
  expect(sentAtMs({ type: 'x', timestamp: 'yesterday' })).toBeUndefined();
  expect(sentAtMs({ type: 'x' })).toBeUndefined();
});

test('an event keeps its key in every envelope, and whatever services stamp or rewrite', () => {
  const flat = { type: 'agent_thinking', run_id: 'r', step_number: 1, user_id: null };
  const nested = { type: 'agent_thinking', data: { run_id: 'r', step_number: 1 }, user_id: 'u' };
  expect(eventKeyOf(flat)).toBe(eventKeyOf(nested));
  expect(eventKeyOf({ ...flat, step_number: 2 })).not.toBe(eventKeyOf(flat));
  expect(eventKeyOf({ ...flat, run_id: 's' })).not.toBe(eventKeyOf(flat));
  const loose = { type: 'note', data: { text: 'hi', userId: 'a' } };
  const rewritten = {
    ...loose,
    data: { text: 'hi', userId: 'b' },
    timestamp: 1,
    recovered: true,
    request_id: 'q',
  };
  expect(eventKeyOf(rewritten)).toBe(eventKeyOf(loose));
  expect(eventKeyOf({ ...loose, data: { text: 'ho' } })).not.toBe(eventKeyOf(loose));
});

const ids = ({ runId, threadId, requestId }: UserExecutionContext) => [runId, threadId, requestId];

test('ids follow from user and message alone, and differ between users', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.jsonValue(), (alice, bob, content) => {
      const message = { type: 'chat', content };
      expect(ids(createUserExecutionContext(alice, message))).toEqual(
        ids(createUserExecutionContext(alice, structuredClone(message))),
      );
      if (alice === bob) return;
      const [ofAlice, ofBob] = [alice, bob].map(user => createUserExecutionContext(user, message));
      if (ofAlice === undefined || ofBob === undefined) throw new Error('no context');
      for (const id of ids(ofAlice)) expect(ids(ofBob)).not.toContain(id);
    }),
  );
});

test("a sender's own ids are taken over, from the root or an envelope", () => {
  const context = createUserExecutionContext('alice', {
    run_id: 'run_1',
    payload: { thread_id: 'thread_1' },
    request_id: 7,
  });
  expect(context).toMatchObject({ runId: 'run_1', threadId: 'thread_1' });
  expect(context.requestId).toMatch(/^req_[0-9a-f]{20}$/);
});

test('contexts share nothing: what is changed behind one of them shows in no other', () => {
  const message = { type: 'chat', payload: { tags: ['a'] } };
  const first = createUserExecutionContext('alice', message);
  const second = createUserExecutionContext('bob', message);
  message.payload.tags.push('b');
  expect(first.input).toEqual({ type: 'chat', payload: { tags: ['a'] } });
  expect(first.input.payload).not.toBe(second.input.payload);
  expect(Object.isFrozen(first)).toBe(true);
});
