import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AnswerReader } from '../../src/wire/answer-reader.ts';

interface Read {
  parts: string[];
  body: string;
  state: string;
  why: string;
  keepsForS: number;
  trailers: readonly string[];
  /** Bytes that were not taken. */
  left: number;
}

/** Reads a text cut at these places; `end`: the connection ends behind it. */
function read(text: string, { method = 'GET', cuts = [] as number[], end = false } = {}): Read {
  const bytes = Buffer.from(text, 'latin1');
  const parts: string[] = [];
  let body = '';
  const reader = new AnswerReader(method, {
    interim: (status, headers) => parts.push(`${status} ${headers.join()}`),
    head: (status, reason, headers) => parts.push(`${status} ${reason} ${headers.join()}`),
    content: part => {
      body += part.toString('latin1');
    },
  });
  let at = 0;
  let left = 0;
  for (const to of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
    if (to <= at) continue;
    // Lent for the call only, as a read buffer is.
    const view = Buffer.from(bytes.subarray(at, to));
    const taken = reader.push(view);
    view.fill(0);
    at = to;
    if (taken < view.length || reader.state === 'invalid') {
      left = view.length - taken + (bytes.length - to);
      break;
    }
  }
  if (end) reader.end();
  const { state, why, keepsForS, trailers } = reader;
  return { parts, body, state, why, keepsForS, trailers, left };
}

const OK = 'HTTP/1.1 200 OK\r\n';
const LENGTH = `${OK}Content-Length: 5\r\nX-A: b\r\n\r\nhello`;
const CHUNKED = `HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n${OK}Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\n\r\n`;

test('head, content and end of an answer with a length', () => {
  expect(read(LENGTH)).toEqual({
    parts: ['200 OK Content-Length,5,X-A,b'],
    body: 'hello',
    state: 'complete',
    why: '',
    keepsForS: Number.POSITIVE_INFINITY,
    trailers: [],
    left: 0,
  });
});

test('interim answers come before, trailers behind, and the framing of chunks is gone', () => {
  expect(read(CHUNKED)).toMatchObject({
    parts: ['103 Link,<a>', '200 OK Transfer-Encoding,chunked'],
    body: 'hello!',
    state: 'complete',
    trailers: ['X-Sum', '7'],
  });
});

test('however the bytes are cut, the answer is the same, and what is behind it is left', () => {
  for (const answer of [LENGTH, CHUNKED]) {
    const whole = read(answer);
    fc.assert(
      fc.property(fc.array(fc.nat({ max: answer.length + 4 }), { maxLength: 8 }), cuts => {
        const behind = read(`${answer}HTTP`, { cuts });
        expect({ ...behind, left: 0 }).toEqual(whole);
      }),
    );
  }
  expect(read(`${LENGTH}HTTP`).left).toBe(4);
});

test('any bytes at all end in a defined state, and never throw', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary-ascii', maxLength: 60 }),
      fc.boolean(),
      (garbage, end) => {
        for (const before of ['', OK, `${OK}Transfer-Encoding: chunked\r\n\r\n`]) {
          const { state, why } = read(before + garbage, { end });
          expect(['head', 'body', 'complete', 'invalid']).toContain(state);
          if (end) expect(['complete', 'invalid']).toContain(state);
          expect(why === '').toBe(state !== 'invalid');
        }
      },
    ),
  );
});

describe('an answer without a length', () => {
  test('is complete when its connection ends, and carries nothing after it', () => {
    const text = `${OK}\r\nall of it`;
    expect(read(text)).toMatchObject({ state: 'body', body: 'all of it' });
    expect(read(text, { end: true })).toMatchObject({ state: 'complete', keepsForS: 0 });
  });

  test.each([`${OK}Content-Length: 6\r\n\r\nhello`, `${OK}Content-Le`, CHUNKED.slice(0, -2)])(
    'is the only one that an end completes: %j',
    text => {
      expect(read(text, { end: true }).state).toBe('invalid');
    },
  );
});

test('the answer to a HEAD tells a length that can be read', () => {
  const text = `${OK}Content-Length: +5\r\n\r\n`;
  expect(read(text, { method: 'HEAD' }).state).toBe('invalid');
});

test.each([
  ['HEAD', 'Content-Length: 5\r\n'],
  ['HEAD', 'Transfer-Encoding: chunked\r\n'],
])('the answer to a %s ends with its head (%j), and its connection with it', (method, field) => {
  expect(read(`${OK}${field}\r\n`, { method })).toMatchObject({ state: 'complete', keepsForS: 0 });
});

test('after a 204 that speaks of a body no other answer is awaited on the connection', () => {
  const after = (field: string) => read(`HTTP/1.1 204 No Content\r\n${field}\r\n`);
  for (const field of ['Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n'])
    expect(after(field)).toMatchObject({ state: 'complete', keepsForS: 0 });
  for (const field of ['', 'Content-Length: 0\r\n'])
    expect(after(field)).toMatchObject({ state: 'complete', keepsForS: Number.POSITIVE_INFINITY });
});

test.each([
  ['', Number.POSITIVE_INFINITY],
  ['Keep-Alive: timeout=5, max=100\r\n', 5],
  ['Keep-Alive: max=3,timeout=72\r\n', 72],
  ['Keep-Alive: xtimeout=5\r\n', Number.POSITIVE_INFINITY],
  ['Connection: Close\r\n', 0],
  ['Connection: keep-alive\r\nConnection: foo, close\r\n', 0],
])('with %j a connection is kept for %d s', (fields, seconds) => {
  expect(read(`${OK}Content-Length: 0\r\n${fields}\r\n`).keepsForS).toBe(seconds);
});

test('a service of HTTP/1.0 keeps no connection', () => {
  expect(read('HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n').keepsForS).toBe(0);
});

test.each([
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(201),
  `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
  `${OK}Transfer-Encoding: gzip\r\n\r\n`,
  `${OK}Transfer-Encoding: chunked\r\n\r\n0x5\r\n`,
  `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n`,
  `HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  `${OK}Transfer-Encoding:\r\n\r\n`,
  'SSH-2.0-OpenSSH\r\n',
])('%j is no answer', text => {
  expect(read(text)).toMatchObject({ state: 'invalid', why: expect.stringMatching(/\w/) });
});
