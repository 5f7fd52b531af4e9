import fc from 'fast-check';
import { expect, test } from 'vitest';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import { legacyEnvelopes, ssotEnvelopes } from '../../src/broadcast/envelopes.ts';
import { quoted } from '../../src/rules/compare/canonical.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { eventKey } from '../../src/rules/event-key.ts';

const BY_DEFAULT = compileRules(DEFAULT_RULES);
const BROADCASTER = compileRules(broadcasterRules());

test('a key has a version, the type, the run, and the first of what tells steps apart', () => {
  const event = { type: 'agent_thinking', run_id: 'r', seq: 7, step_number: 2 };
  expect(eventKey(BY_DEFAULT, event)).toBe('k1:["agent_thinking","r",2]');
  expect(eventKey(BY_DEFAULT, { type: 'x', data: { run_id: 'r' } })).toBe('k1:["x","r",null]');
  expect(eventKey(BY_DEFAULT, { type: 'x', run_id: null, payload: { seq: 0 } })).toBe(
    'k1:["x",null,0]',
  );
});

test('no two sets of values make one key', () => {
  const keys = [
    { type: 'a', run_id: 'b' },
    { type: 'a', run_id: 'b","c' },
    { type: 'a","b', run_id: 'c' },
    { type: 'a', run_id: '1' },
    { type: 'a', run_id: 1 },
    { type: 'a', run_id: ['b'] },
    { type: 'a', seq: 'b' },
  ].map(event => eventKey(BY_DEFAULT, event));
  expect(new Set(keys).size).toBe(keys.length);
});

test('what a service makes up is not part of a key', () => {
  const ack = (id: string) => ({ type: 'ack', data: { message_id: id, in_reply_to: 'm1' } });
  expect(eventKey(BROADCASTER, ack('a'))).toBe('k1:["ack",null,"m1"]');
  expect(eventKey(BY_DEFAULT, ack('a'))).toBe('k1:["ack",null,"a"]');
  const greeting = (envelopes: typeof legacyEnvelopes, connection_id: string) =>
    envelopes.reply('connection_established', { connection_id, user_id: 'u' }, 1_000);
  expect(eventKey(BROADCASTER, greeting(legacyEnvelopes, 'a'))).toBe(
    eventKey(BROADCASTER, greeting(ssotEnvelopes, 'b')),
  );
});

test('a digest stands in for a key: of the content, not of its order, its envelope or its users', () => {
  const key = (event: object) => eventKey(BY_DEFAULT, { type: 'note', ...event });
  const plain = key({ text: 'hello', lang: { a: 1, b: [1, 2] } });
  expect(plain).toMatch(/^k1:\["note",null,"[0-9a-f]{24}"\]$/);
  expect(key({ data: { lang: { b: [1, 2], a: 1 } }, payload: { text: 'hello' } })).toBe(plain);
  expect(
    key({ text: 'hello', lang: { a: 1, b: [1, 2] }, user_id: 'u', sender_id: 's', userId: 'x' }),
  ).toBe(plain);
  expect(key({ text: 'hello', lang: { a: 1, b: [1, 2] }, timestamp: 1, event_id: 'e' })).toBe(
    plain,
  );
  expect(key({ text: 'hello', lang: { a: 1, b: [2, 1] } })).not.toBe(plain);
  expect(key({ text: '\ud800' })).not.toBe(key({ text: '\ud801' }));
});

test('keys are short however long the ids, and there is none for what is no JSON object', () => {
  const long = (id: string) => eventKey(BY_DEFAULT, { type: 'x', run_id: id.repeat(1_000_000) });
  expect(long('a')).toMatch(/^k1:[0-9a-f]{24}$/);
  expect(long('a')).not.toBe(long('b'));
  for (const value of [null, 'text', 7, [], undefined])
    expect(eventKey(BY_DEFAULT, value)).toBeNull();
});

test('a key of names that objects inherit is read as any other', () => {
  const keyed = compileRules({
    ...DEFAULT_RULES,
    key: { all: ['/constructor', '/__proto__'], first: [], shared: [], except: [] },
  });
  expect(eventKey(keyed, { type: 'x', a: 1 })).toMatch(/^k1:\["x",null,null,"[0-9a-f]{24}"\]$/);
  expect(eventKey(keyed, JSON.parse('{"type":"x","constructor":1,"__proto__":2}'))).toBe(
    'k1:["x",1,2,null]',
  );
});

test('a text in a key stands there as JSON has it, whatever is in it', () => {
  const texts = Array.from({ length: 0x110 }, (_, code) => `a${String.fromCharCode(code)}z`);
  expect(texts.filter(text => quoted(text) !== JSON.stringify(text))).toEqual([]);
  const any = fc
    .array(fc.nat(0xffff), { maxLength: 80 })
    .map(codes => String.fromCharCode(...codes));
  fc.assert(
    fc.property(any, text => quoted(text) === JSON.stringify(text)),
    { seed: 1 },
  );
});
