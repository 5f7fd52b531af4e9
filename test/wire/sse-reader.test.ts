import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type SseEvent, SseReader } from '../../src/wire/sse-reader.ts';

function read(pieces: readonly Buffer[], maxChars = 10_000) {
  const events: (SseEvent | 'too-long')[] = [];
  const reader = new SseReader(
    { event: event => void events.push(event), tooLong: () => void events.push('too-long') },
    maxChars,
  );
  for (const piece of pieces) reader.push(piece);
  return { events, reader };
}
const message = (data: string): SseEvent => ({ event: 'message', data, id: null });

test.each([
  ['a line of data', 'data: a\n\n', [message('a')]],
  ['several lines of data', 'data: a\ndata:b\ndata\n\n', [message('a\nb\n')]],
  [
    'an event with a name and an id',
    'id: 7\nevent: e\ndata: x\n\n',
    [{ event: 'e', data: 'x', id: '7' }],
  ],
  [
    'carriage returns alone and in pairs',
    'data: a\r\rdata: b\r\n\r\n',
    [message('a'), message('b')],
  ],
  [
    'a byte order mark, comments, other fields',
    '\ufeff: hello\nretry: 5\ndata: a\n\n',
    [message('a')],
  ],
  ['blocks without data', 'event: x\n\nid: 1\n\ndata: a\n\n', [message('a')]],
  ['only one space is taken off', 'data:  a\n\n', [message(' a')]],
  ['an id with a NUL is ignored', 'id: a\0b\ndata: a\n\n', [message('a')]],
  ['an event that has not ended', 'data: a\n', []],
])('%s', (_name, text, events) => {
  expect(read([Buffer.from(text)]).events).toEqual(events);
});

test('a stream cut anywhere, also inside a character, has the same events', () => {
  const line = fc.constantFrom('data: ä€😀', 'data: x', 'event: e', 'id: 3', ': c', '', '');
  fc.assert(
    fc.property(
      fc.array(line),
      fc.constantFrom('\n', '\r', '\r\n'),
      fc.array(fc.integer({ min: 1, max: 9 })),
      (lines, end, cuts) => {
        const bytes = Buffer.from(lines.map(l => l + end).join(''));
        const pieces: Buffer[] = [];
        let at = 0;
        for (const cut of cuts) {
          pieces.push(bytes.subarray(at, at + cut));
          at += cut;
        }
        pieces.push(bytes.subarray(at));
        expect(read(pieces).events).toEqual(read([bytes]).events);
      },
    ),
  );
});

test('an event that is too long is counted and the next one is read', () => {
  const { events } = read(
    [
      Buffer.from(`data: ${'a'.repeat(50)}`),
      Buffer.from(`${'a'.repeat(50)}\n`),
      Buffer.from('\ndata: b\n\n'),
    ],
    60,
  );
  expect(events).toEqual(['too-long', message('b')]);
});

test('after a gap everything up to the next event is left out', () => {
  const { events, reader } = read([Buffer.from('data: a\n\ndata: torn')]);
  reader.skipToNextEvent();
  reader.push(Buffer.from('rest of another\n\ndata: b\n\n'));
  expect(events).toEqual([message('a'), message('b')]);
});
