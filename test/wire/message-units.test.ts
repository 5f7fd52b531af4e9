import fc from 'fast-check';
import { expect, test } from 'vitest';
import { controlFrame, OPCODE, wholeFrame } from '../../src/wire/frames.ts';
import { areWholeTexts, UnitSplitter } from '../../src/wire/message-units.ts';

/** What a splitter gives: units with their messages, and what it passes on unread. */
function splitting(maxBytes = 2_000_000) {
  const units: { raw: string; opcode: number | null; payload: string }[] = [];
  const passed: { bytes: Buffer; isFirst: boolean }[] = [];
  const splitter = new UnitSplitter(
    {
      unit: unit => {
        const message = unit.message();
        units.push({
          raw: unit.raw.toString('hex'),
          opcode: message?.opcode ?? null,
          payload: message?.payload.toString() ?? '',
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

test('a stream cut anywhere gives the same messages, and control frames before the message that they were in', () => {
  const whole = wholeFrame(OPCODE.text, Buffer.from('whole'));
  const parts = Buffer.concat(inParts.filter(part => part !== ping));
  const control = { raw: ping.toString('hex'), opcode: null, payload: '' };
  const expected = [
    { raw: whole.toString('hex'), opcode: 1, payload: 'whole' },
    control,
    control,
    { raw: parts.toString('hex'), opcode: 1, payload: 'in parts' },
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

test('what is held is what was not given: the beginning of a message, and that of a control frame in it', () => {
  const [first, , last] = inParts as [Buffer, Buffer, Buffer];
  for (let cut = 1; cut < first.length + ping.length + last.length; cut += 1) {
    const { splitter, units } = splitting();
    splitter.push(Buffer.concat(inParts).subarray(0, cut));
    const isGiven = cut >= first.length + ping.length;
    expect(units).toHaveLength(isGiven ? 1 : 0);
    const due = Buffer.concat(isGiven ? [first, last] : inParts);
    expect(splitter.held()).toEqual(due.subarray(0, isGiven ? cut - ping.length : cut));
  }
});

test('a control frame inside a message that is not held is given by itself as well', () => {
  const { splitter, units, passed } = splitting(10);
  const parts = [
    fragment(OPCODE.text, false, 'longer than that'),
    ping,
    fragment(OPCODE.continuation, true, 'end'),
  ];
  for (const byte of Buffer.concat(parts)) splitter.push(Buffer.from([byte]));
  expect(units.map(({ raw }) => raw)).toEqual([ping.toString('hex')]);
  const due = Buffer.concat(parts.filter(part => part !== ping));
  expect(Buffer.concat(passed.map(({ bytes }) => bytes))).toEqual(due);
  expect(splitter.atBoundary).toBe(true);
});

test('one that is longer than any may be stays in its message, which nobody can read by that', () => {
  const long = wholeFrame(OPCODE.ping, Buffer.alloc(126, 'p'));
  const all = Buffer.concat([inParts[0] as Buffer, long, inParts[2] as Buffer]);
  for (const size of [1, all.length]) {
    const { splitter, units } = splitting();
    for (let at = 0; at < all.length; at += size) splitter.push(all.subarray(at, at + size));
    expect(units).toEqual([{ raw: all.toString('hex'), opcode: null, payload: '' }]);
  }
});

/** Frames of any kind, a few of them cut short. */
const anyFrames = fc
  .array(
    fc.record({
      opcode: fc.constantFrom(0, 1, 1, 1, 2, 3, 8, 9, 10, 15),
      fin: fc.integer({ min: 0, max: 9 }).map(n => n > 0),
      rsv: fc.constantFrom(0, 0, 0, 0, 0, 0, 0x40),
      mask: fc.constantFrom(undefined, undefined, undefined, undefined, Buffer.from('mask')),
      length: fc.constantFrom(0, 1, 5, 125, 126, 300, 65_535, 65_536),
      short: fc.constantFrom(0, 0, 0, 0, 0, 0, 1),
    }),
    { maxLength: 4 },
  )
  .map(shapes =>
    Buffer.concat(
      shapes.map(({ opcode, fin, rsv, mask, length, short }) => {
        const bytes = wholeFrame(opcode, Buffer.alloc(length, 'x'), mask);
        bytes[0] = (fin ? 0x80 : 0) | rsv | opcode;
        return bytes.subarray(0, bytes.length - short);
      }),
    ),
  );

test('bytes that are called whole texts are whole texts in one frame each, and control frames', () => {
  let wholes = 0;
  fc.assert(
    fc.property(anyFrames, bytes => {
      if (!areWholeTexts(bytes)) return;
      wholes += bytes.length > 0 ? 1 : 0;
      const { splitter, units, passed } = splitting();
      splitter.push(bytes);
      expect(splitter.atBoundary).toBe(true);
      expect(passed).toEqual([]);
      expect(units.map(({ raw }) => raw).join('')).toBe(bytes.toString('hex'));
      for (const { raw, opcode } of units) {
        const frame = Buffer.from(raw, 'hex');
        const [first = 0, length = 0] = frame;
        if (opcode === null) expect(first & 0xf8).toBe(0x88);
        // Its payload may be no UTF-8.
        const payload = frame.subarray(length < 126 ? 2 : length === 126 ? 4 : 10);
        if (opcode !== null) expect(frame).toEqual(wholeFrame(OPCODE.text, payload));
      }
    }),
    { numRuns: 500 },
  );
  expect(wholes).toBeGreaterThan(20);
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
