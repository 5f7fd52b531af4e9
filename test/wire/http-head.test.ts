import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readAnswerHead, writeHead } from '../../src/wire/http-head.ts';

const read = (text: string, maxBytes = 1_000) =>
  readAnswerHead(Buffer.from(text, 'latin1'), maxBytes);

test('a head is read whole, spelling and order kept, and says how many bytes it took', () => {
  const text = 'HTTP/1.1 403 No entry\r\nX-B: 1\r\nx-a:  two \r\nX-B: 3\r\n\r\nbody';
  expect(read(text)).toEqual({
    minor: 1,
    status: 403,
    reason: 'No entry',
    headers: ['X-B', '1', 'x-a', 'two', 'X-B', '3'],
    bytes: text.length - 4,
  });
});

test('a head cut anywhere is incomplete, never invalid', () => {
  const text = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n';
  for (let length = 0; length < text.length; length += 1) {
    expect(read(text.slice(0, length))).toBe('incomplete');
  }
});

test.each([
  ['another protocol', 'SSH-2.0-OpenSSH\r\n\r\n'],
  ['a version of the future', 'HTTP/2.0 200 OK\r\n\r\n'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['a space before the colon', 'HTTP/1.1 200 OK\r\nA : b\r\n\r\n'],
  ['an empty name', 'HTTP/1.1 200 OK\r\n: b\r\n\r\n'],
  ['no colon', 'HTTP/1.1 200 OK\r\nab\r\n\r\n'],
  ['a folded line', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n'],
  ['a bare line feed', 'HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n'],
  ['a bare carriage return', 'HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n'],
  ['a NUL', 'HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n'],
])('%s is refused', (_what, text) => {
  expect(read(text)).toHaveProperty('invalid');
});

test('a head longer than allowed is refused, before its end has come and after', () => {
  const long = `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(100)}`;
  expect(read(long, 100)).toHaveProperty('invalid');
  expect(read(`${long}\r\n\r\n`, 100)).toHaveProperty('invalid');
});

test('what was written is read back the same', () => {
  const name = fc.stringMatching(/^[A-Za-z-]{1,12}$/);
  const value = fc.stringMatching(/^[!-~]{0,20}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 20 }), fields => {
      const bytes = writeHead('HTTP/1.1 200 OK', fields.flat());
      expect(readAnswerHead(bytes, 10_000)).toMatchObject({
        headers: fields.flat(),
        bytes: bytes.length,
      });
    }),
  );
});
