// What the tour says follows what was counted, good or bad.
import { expect, test } from 'vitest';
import type { Proof } from '../../src/control/proofs.ts';
import { faultLine, leakLine, proofOf } from '../../src/runs/tour-lines.ts';

test.each([
  ['sanitized', 'put right on its way'],
  ['blocked', 'withheld'],
  ['delivered', 'reached its user as it was'],
  ['not-shown', 'seen by no user'],
  ['unknown', 'has left'],
] as const)('a leak that is %s is told as such', (outcome, says) => {
  expect(leakLine({ eventType: 'agent_started', outcome }, '0.1 s')).toMatch(says);
});

test('that nobody got a fault is only said where the candidate sent users nothing', () => {
  const group = { verdict: 'mismatch', path: '/type' } as const;
  expect(faultLine(group, 'pong', '1.0 s', 0)).toContain('No user got it.');
  const line = faultLine(group, 'pong', '1.0 s', 7);
  expect(line).not.toContain('No user');
  expect(line).toContain('7 events');
});

test('the proof of a leak is that of its own rollback, and of no other one', () => {
  const proof = (id: string, more: Partial<Proof> = {}) =>
    ({ id, by: 'guardrail contamination', scope: 'events', state: 'complete', ...more }) as Proof;
  const proofs = [
    proof('6', { state: 'running' }),
    proof('5', { scope: 'sse' }),
    proof('4', { by: 'guardrail errors' }),
    proof('3', { by: 'operator' }),
    proof('2'),
    proof('1'),
  ];
  expect(proofOf('events', proofs, new Set(['1']))?.id).toBe('2');
  expect(proofOf('events', proofs, new Set(['1', '2']))).toBeUndefined();
});
