import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  answerFraming,
  BodyTracker,
  belies,
  plainLength,
  requestFraming,
} from '../../src/wire/body.ts';

const CHUNKED = ['Transfer-Encoding', 'chunked'];
const framingOf = (status: number, headers: string[], minor: 0 | 1 = 1) =>
  answerFraming({ minor, status, headers });

test('an answer is framed by status, then coding, then length, then the connection', () => {
  expect(framingOf(200, ['transfer-encoding', 'Chunked'])).toEqual({ kind: 'chunked' });
  expect(framingOf(200, ['Content-Length', '5'])).toEqual({ kind: 'length', bytes: 5 });
  expect(framingOf(200, [])).toEqual({ kind: 'until-close' });
  for (const headers of [['Content-Length', '5'], ['Content-Length', ''], [...CHUNKED]])
    for (const status of [103, 204]) expect(framingOf(status, headers)).toEqual({ kind: 'none' });
  expect(framingOf(304, ['Content-Length', '5'])).toEqual({ kind: 'none' });
});

test('a 204 that speaks of a body is recognised, and one that says there is none is not', () => {
  expect(belies(204, CHUNKED)).toBe(true);
  expect(belies(204, ['Content-Length', '5'])).toBe(true);
  expect(belies(204, ['Content-Length', '0'])).toBe(false);
  expect(belies(204, [])).toBe(false);
  expect(belies(200, ['Content-Length', '5'])).toBe(false);
});

test('a length goes on as every reader understands it', () => {
  const of = (status: number, length: string) =>
    plainLength(status, ['A', '010', 'content-length', length, 'B', '010']);
  expect(of(200, '010')).toEqual(['A', '010', 'content-length', '10', 'B', '010']);
  expect(of(200, '000')).toEqual(['A', '010', 'content-length', '0', 'B', '010']);
  expect(of(304, '0')).toEqual(['A', '010', 'content-length', '0', 'B', '010']);
  for (const status of [103, 204]) expect(of(status, '10')).toEqual(['A', '010', 'B', '010']);
});

test('leading zeros of an answer are in the grammar, however many', () => {
  for (const length of ['010', '0000000000000000000010'])
    expect(framingOf(200, ['Content-Length', length])).toEqual({ kind: 'length', bytes: 10 });
});

test('a request is framed by coding, then length, and otherwise has no body', () => {
  expect(requestFraming('1.1', ['transfer-encoding', 'Chunked'])).toEqual({ kind: 'chunked' });
  expect(requestFraming('1.0', ['Content-Length', '10'])).toEqual({ kind: 'length', bytes: 10 });
  expect(requestFraming('1.1', ['Content-Length', '0'])).toEqual({ kind: 'length', bytes: 0 });
  expect(requestFraming('1.1', [])).toEqual({ kind: 'none' });
});

test.each([
  ['Content-Length', '5', 'Transfer-Encoding', 'chunked'],
  ['Content-Length', '5', 'Content-Length', '5'],
  ['Content-Length', '05'],
  ['Content-Length', '9007199254740992'],
  ['Content-Length', '5 '],
  ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked'],
  ['Transfer-Encoding', 'gzip, chunked'],
  ['Transfer-Encoding', ''],
])('a request with %s: %s %s %s is ambiguous', (...headers) => {
  expect(requestFraming('1.1', headers)).toBeNull();
});

test('chunks in HTTP/1.0 are ambiguous', () => {
  expect(requestFraming('1.0', CHUNKED)).toBeNull();
  expect(framingOf(200, CHUNKED, 0)).toBeNull();
});

test.each([
  ['both framings', ['Content-Length', '5', 'Transfer-Encoding', 'chunked']],
  ['two lengths', ['Content-Length', '5', 'Content-Length', '5']],
  ['a signed length', ['Content-Length', '+5']],
  ['a hexadecimal length', ['Content-Length', '0x5']],
  ['an empty length', ['Content-Length', '']],
  ['a length beyond all numbers', ['Content-Length', '9007199254740993']],
  ['a list of lengths', ['Content-Length', '5,5']],
  ['a coding that is not known', ['Transfer-Encoding', 'gzip, chunked']],
  ['a coding without a name', ['Transfer-Encoding', '']],
])('%s is ambiguous, in a 304 as well', (_what, headers) => {
  for (const status of [200, 304]) expect(framingOf(status, headers)).toBeNull();
});

const cut = (bytes: Buffer, sizes: number[]): Buffer[] => {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...pieces, bytes.subarray(at)];
};

test('a chunked body ends at the same byte however it is cut, and what follows is not taken', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, maxLength: 30 }), { maxLength: 5 }),
      fc.array(fc.nat(20)),
      (chunks, sizes) => {
        const body = `${chunks
          .map(chunk => `${Buffer.byteLength(chunk).toString(16)};x=1\r\n${chunk}\r\n`)
          .join('')}0\r\nTrailer: t\r\n\r\n`;
        const tracker = new BodyTracker({ kind: 'chunked' });
        const taken = cut(Buffer.from(`${body}HTTP/1.1 200 OK`), sizes).reduce(
          (sum, b) => sum + tracker.push(b),
          0,
        );
        expect([tracker.state, taken]).toEqual(['complete', Buffer.byteLength(body)]);
      },
    ),
  );
});

test.each([
  'x\r\n',
  '-1\r\n',
  '+1\r\n',
  '0x1\r\n',
  ' 1\r\n',
  '1_0\r\n',
  '1\n',
  'fffffffffffff\r\n',
  '1\r\nab\r\n',
  '1;a\rb\r\n',
])('chunk line %j is invalid', line => {
  const tracker = new BodyTracker({ kind: 'chunked' });
  tracker.push(Buffer.from(line));
  expect(tracker.state).toBe('invalid');
});

test('a chunk extension without end is cut off', () => {
  const tracker = new BodyTracker({ kind: 'chunked' });
  tracker.push(Buffer.from(`1;${'a'.repeat(5_000)}`));
  expect(tracker.state).toBe('invalid');
});

test('a connection that ends early leaves a framed body incomplete, and completes an unframed one', () => {
  for (const [kind, state] of [
    ['chunked', 'invalid'],
    ['length', 'invalid'],
    ['until-close', 'complete'],
  ] as const) {
    const tracker = new BodyTracker(kind === 'length' ? { kind, bytes: 10 } : { kind });
    tracker.push(Buffer.from('5\r\nab'));
    tracker.end();
    expect([kind, tracker.state]).toEqual([kind, state]);
  }
});
