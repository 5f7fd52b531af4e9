import fc from 'fast-check';
import { expect, test } from 'vitest';
import { controlFrame, OPCODE, wholeFrame } from '../../src/wire/frames.ts';
import { UnitSplitter } from '../../src/wire/message-units.ts';

/** What a splitter gives: units with their messages and control frames, and what it passes on unread. */
function splitting(maxBytes = 2_000_000) {
  const units: { raw: string; opcode: number | null; payload: string; controls: string }[] = [];
  const passed: { bytes: Buffer; isFirst: boolean }[] = [];
  const splitter = new UnitSplitter(
    {
      unit: unit => {
        const message = unit.message();
        units.push({
          raw: unit.raw.toString('hex'),
          opcode: message?.opcode ?? null,
          payload: message?.payload.toString() ?? '',
          controls: unit.controls().toString('hex'),
        });
      },
      tooLong: (piece, isFirst) => passed.push({ bytes: Buffer.from(piece), isFirst }),
    },
    maxBytes,
  );
  return { splitter, units, passed };
}

/** A fragment of a service's, of less than 126 bytes. */
const fragment = (opcode: number, fin: boolean, text: string) =>
  Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode, text.length]), Buffer.from(text)]);

const ping = controlFrame(OPCODE.ping, Buffer.from('p'));
const inParts = [
  fragment(OPCODE.text, false, 'in '),
  ping,
  fragment(OPCODE.continuation, true, 'parts'),
];
const stream = Buffer.concat([wholeFrame(OPCODE.text, Buffer.from('whole')), ping, ...inParts]);

test('a stream cut anywhere gives the same messages, with their frames as they came', () => {
  const [whole, parts] = [wholeFrame(OPCODE.text, Buffer.from('whole')), Buffer.concat(inParts)];
  const expected = [
    { raw: whole.toString('hex'), opcode: 1, payload: 'whole', controls: '' },
    { raw: ping.toString('hex'), opcode: null, payload: '', controls: ping.toString('hex') },
    { raw: parts.toString('hex'), opcode: 1, payload: 'in parts', controls: ping.toString('hex') },
  ];
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: stream.length })), cuts => {
      const { splitter, units } = splitting();
      const places = [0, ...cuts.toSorted((a, b) => a - b), stream.length];
      for (const [i, at] of places.entries()) splitter.push(stream.subarray(at, places[i + 1]));
      expect(units).toEqual(expected);
      expect(splitter.atBoundary).toBe(true);
      expect(splitter.held()).toHaveLength(0);
    }),
  );
});

test('what is longer than the limit is passed on in order, and what follows it is split again', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), size => {
      const { splitter, units, passed } = splitting(40);
      const long = wholeFrame(OPCODE.text, Buffer.alloc(50, 'x'));
      const all = Buffer.concat([long, wholeFrame(OPCODE.text, Buffer.from('next'))]);
      for (let at = 0; at < all.length; at += size) {
        splitter.push(all.subarray(at, at + size));
        expect(splitter.heldBytes).toBeLessThanOrEqual(40);
      }
      expect(Buffer.concat(passed.map(({ bytes }) => bytes)).equals(long)).toBe(true);
      expect(passed.map(({ isFirst }) => isFirst)).toEqual(passed.map((_, i) => i === 0));
      expect(units.map(({ payload }) => payload)).toEqual(['next']);
    }),
  );
});

/**
 * The fault: each read was kept as a piece of its own, an object of some 100 bytes. A message of 1 MiB that
 * a service sent a byte at a time took 100 MiB, of which the limits saw one.
 */
test('a message that comes a byte at a time is held as one piece', () => {
  const { splitter, units, passed } = splitting();
  const long = wholeFrame(OPCODE.text, Buffer.alloc(1_000_000, 'x'));
  const before = process.memoryUsage().heapUsed;
  for (let at = 0; at < long.length - 1; at += 1) splitter.push(long.subarray(at, at + 1));
  // What is thrown away may lie about for a while.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(60 * 1_048_576);
  expect(splitter.heldBytes).toBe(long.length - 1);
  expect(units).toEqual([]);
  splitter.letGo();
  splitter.push(long.subarray(-1));
  expect(passed.map(({ bytes }) => bytes.length)).toEqual([long.length - 1, 1]);
  expect(Buffer.concat(passed.map(({ bytes }) => bytes)).equals(long)).toBe(true);
});

test('messages that a sink keeps are not written over by those behind them', () => {
  const kept: Buffer[] = [];
  const splitter = new UnitSplitter(
    { unit: ({ raw }) => void kept.push(raw), tooLong: () => undefined },
    1_000,
  );
  const frames = ['one', 'two', 'three'].map(text => wholeFrame(OPCODE.text, Buffer.from(text)));
  for (const frame of frames) for (const byte of frame) splitter.push(Buffer.from([byte]));
  expect(kept).toEqual(frames);
});
