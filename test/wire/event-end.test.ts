import fc from 'fast-check';
import { expect, test } from 'vitest';
import { eventEnd, isBetweenEvents, TAIL_BYTES } from '../../src/wire/event-end.ts';

test.each([
  ['', true],
  ['data: 1\n\n', true],
  ['data: 1\r\n\r\n', true],
  ['data: 1\r\r', true],
  ['data: 1\n\r', true],
  [': comment\n\n', true],
  ['data: 1', false],
  ['data: 1\n', false],
  // One line end of two characters.
  ['data: 1\r\n', false],
  ['data: 1\r', false],
  ['data: 1\n\ndata: 2', false],
])('after %j a stream is between two events: %s', (stream, between) => {
  expect(isBetweenEvents(stream)).toBe(between);
  expect(isBetweenEvents(stream.slice(-TAIL_BYTES))).toBe(between);
});

test.each([
  ['a: 1', '\n\nb', 2],
  ['a: 1\n', '\nb', 1],
  ['a: 1\r', '\n\r\nb', 3],
  ['a: 1\r\n', '\r\nb', 2],
  // The rest of a line end.
  ['a: 1\r\n\r', '\nb', 1],
  ['a: 1', 'data: 2\n', null],
  ['a: 1', 'data: 2\n\ndata: 3\n\n', 9],
])('behind %j, %j ends the event after %j characters', (tail, text, end) => {
  expect(eventEnd(tail.slice(-TAIL_BYTES), text)).toBe(end);
});

test('wherever a stream is cut, what is found ends an event and leaves none behind', () => {
  const piece = fc.constantFrom('data: x', '\n', '\r\n', '\r', ':', 'é');
  fc.assert(
    fc.property(fc.array(piece), fc.nat(), (pieces, at) => {
      const stream = pieces.join('');
      const cut = at % (stream.length + 1);
      const [before, text] = [stream.slice(0, cut), stream.slice(cut)];
      const end = eventEnd(before.slice(-TAIL_BYTES), text);
      if (end === null) return;
      expect(end).toBeGreaterThan(0);
      // Read as lines, the last one that has ended is blank.
      const lines = (before + text.slice(0, end)).split(/\r\n|\n|\r/);
      expect(lines.slice(-2)).toEqual(['', '']);
    }),
  );
});
