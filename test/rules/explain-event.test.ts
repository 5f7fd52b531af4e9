// Why an identifier says whose an event is, or why not.
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { explainEvent } from '../../src/rules/isolation/explain.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import { isolationOf, USER } from './isolation-case.ts';

const RULES = compileRules({
  ...DEFAULT_RULES,
  replies: ['pong'],
  allow: [{ path: '/request_id', as: 'generated-id' }],
});

function ledger(value: unknown): string[] {
  const payload = Buffer.from(JSON.stringify(value));
  const { rules } = explainEvent(isolationOf(), RULES, new Recipient(USER), payload, value);
  return rules
    .filter(({ rule }) => rule === 'ledger')
    .map(({ path, says, why }) => `${path} ${says}: ${why.slice(0, 24)}`);
}

test('of every identifier it is said whether the ledger is asked, and why not', () => {
  const all = { thread_id: 't1', data: { request_id: 'r1' }, run_id: 7 };
  expect(ledger({ type: 'x', ...all })).toEqual([
    '/thread_id open: contaminated if legacy g',
    '/run_id clean: proves nothing: each ser',
    '/request_id clean: proves nothing: each ser',
  ]);
  expect(ledger({ type: 'pong', ...all })[0]).toBe('/thread_id clean: its type answers a clien');
  expect(ledger({ type: 'error_message', ...all })[0]).toBe(
    '/thread_id clean: its type reports a failu',
  );
  // One of a batch is enough.
  const batch = [
    { type: 'pong', thread_id: 't1' },
    { type: 'x', thread_id: 't1' },
    { type: 'pong', thread_id: 't1' },
  ];
  expect(ledger(batch)).toEqual(['/thread_id open: contaminated if legacy g']);
});
