import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  closeFrame,
  controlFrame,
  FrameTracker,
  NO_CODE,
  OPCODE,
  wholeFrame,
} from '../../src/wire/frames.ts';

interface Frame {
  opcode: number;
  fin: boolean;
  length: number;
  mask: number[] | null;
}

/** A frame written by the book (RFC 6455 5.2), with a length field no shorter than asked for. */
function frame({ opcode, fin, length, mask }: Frame, payload = Buffer.alloc(length, 0x61)): Buffer {
  const first = (fin ? 0x80 : 0) | opcode;
  const masked = mask === null ? 0 : 0x80;
  const head =
    length < 126
      ? Buffer.from([first, masked | length])
      : length < 65_536
        ? Buffer.from([first, masked | 126, length >> 8, length & 0xff])
        : Buffer.concat([Buffer.from([first, masked | 127]), uint64(length)]);
  const body = Buffer.from(payload);
  if (mask !== null)
    for (let i = 0; i < body.length; i += 1) body[i] = (body[i] ?? 0) ^ (mask[i % 4] ?? 0);
  return Buffer.concat([head, Buffer.from(mask ?? []), body]);
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

const frames = fc.array(
  fc.record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    fin: fc.boolean(),
    length: fc.oneof(fc.nat(130), fc.constantFrom(65_535, 65_536, 70_000)),
    mask: fc.option(fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))),
  }),
  { maxLength: 8 },
);

test('a stream cut anywhere has the same messages and ends as the whole stream', () => {
  fc.assert(
    fc.property(frames, fc.array(fc.integer({ min: 1, max: 40 })), (list, cuts) => {
      const bytes = Buffer.concat(list.map(f => frame(f)));
      const whole = new FrameTracker();
      whole.push(bytes);
      const pieces = new FrameTracker();
      let at = 0;
      for (const cut of cuts) at += pieces.push(bytes.subarray(at, at + cut));
      pieces.push(bytes.subarray(at));
      expect(pieces.messages).toBe(whole.messages);
      expect(pieces.atMessageBoundary).toBe(whole.atMessageBoundary);
      expect(whole.atFrameBoundary).toBe(true);
      expect(whole.messages).toBe(list.filter(f => f.opcode === 1 || f.opcode === 2).length);
    }),
  );
});

test('pushing up to message ends, one call after the other, finds every one of them', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(300), { minLength: 1, maxLength: 10 }), lengths => {
      const list = lengths.map(length => frame({ opcode: 1, fin: true, length, mask: null }));
      const bytes = Buffer.concat(list);
      const tracker = new FrameTracker();
      const ends: number[] = [];
      for (let at = 0; at < bytes.length; ) {
        at += tracker.push(bytes.subarray(at), 'message');
        ends.push(at);
      }
      let sum = 0;
      expect(ends).toEqual(list.map(f => (sum += f.length)));
    }),
  );
});

test('between two fragments lies a frame boundary, but no message boundary', () => {
  const tracker = new FrameTracker();
  const first = frame({ opcode: 1, fin: false, length: 5, mask: null });
  const rest = frame({ opcode: 0, fin: true, length: 5, mask: null });
  expect(tracker.push(Buffer.concat([first, rest]), 'frame')).toBe(first.length);
  expect([tracker.atFrameBoundary, tracker.atMessageBoundary]).toEqual([true, false]);
  tracker.push(frame({ opcode: 9, fin: true, length: 0, mask: null }));
  expect(tracker.atMessageBoundary).toBe(false);
  tracker.push(rest);
  expect(tracker.atMessageBoundary).toBe(true);
  expect(tracker.messages).toBe(1);
});

test('a close code is read masked or not, byte by byte too, and only the first one counts', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 65_535 }),
      fc.option(fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))),
      (code, mask) => {
        const bytes = closeFrame(code, 'bye', mask === null ? undefined : Uint8Array.from(mask));
        const tracker = new FrameTracker();
        for (const byte of bytes) tracker.push(Uint8Array.of(byte));
        tracker.push(closeFrame(4000));
        expect(tracker.closeCode).toBe(code);
      },
    ),
  );
});

test('a close frame without a body, or with one byte, has no code', () => {
  for (const payload of ['', 'x']) {
    const tracker = new FrameTracker();
    tracker.push(controlFrame(OPCODE.close, Buffer.from(payload)));
    expect(tracker.closeCode).toBe(NO_CODE);
  }
});

test('a length beyond 2^53 ends tracking and nothing else', () => {
  const tracker = new FrameTracker();
  const bytes = Buffer.concat([Buffer.from([0x82, 127]), Buffer.alloc(8, 0xff), Buffer.alloc(100)]);
  expect(tracker.push(bytes, 'message')).toBe(bytes.length);
  expect(tracker.lost).toBe(true);
  expect([tracker.atFrameBoundary, tracker.atMessageBoundary]).toEqual([false, false]);
});

/** What frames the bytes hold, read all at once and from the front: another way to the same end. */
function read(bytes: Buffer) {
  const seen = {
    messages: 0,
    closeCode: null as number | null,
    lost: false,
    between: true,
    inMessage: false,
  };
  let at = 0;
  while (at < bytes.length) {
    const [first = 0, second = 0] = bytes.subarray(at, at + 2);
    const [opcode, short] = [first & 0x0f, second & 0x7f];
    const field = short === 127 ? 8 : short === 126 ? 2 : 0;
    const head = 2 + field + (second & 0x80 ? 4 : 0);
    seen.between = false;
    if (bytes.length < at + 2 + field) break;
    const length =
      field === 8
        ? bytes.readBigUInt64BE(at + 2)
        : BigInt(field === 2 ? bytes.readUInt16BE(at + 2) : short);
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) {
      seen.lost = true;
      break;
    }
    if (bytes.length < at + head) break;
    if (opcode < 8) {
      if (opcode !== 0) seen.messages += 1;
      seen.inMessage = first < 0x80;
    }
    const end = at + head + Number(length);
    if (bytes.length < end) break;
    if (opcode === 8 && seen.closeCode === null) {
      const mask = second & 0x80 ? bytes.subarray(at + head - 4, at + head) : Buffer.alloc(4);
      const code = bytes.subarray(at + head, end).map((byte, i) => byte ^ (mask[i % 4] as number));
      seen.closeCode = code.length < 2 ? NO_CODE : Buffer.from(code).readUInt16BE();
    }
    seen.between = true;
    at = end;
  }
  return {
    ...{ messages: seen.messages, closeCode: seen.closeCode, lost: seen.lost },
    atFrameBoundary: seen.between && !seen.lost,
    atMessageBoundary: seen.between && !seen.lost && !seen.inMessage,
  };
}

/** Bytes by chance make long frames; these heads keep them short, so that many follow each other. */
const anyBytes = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 30 }),
      fc.tuple(fc.nat(255), fc.nat(8)).map(head => Uint8Array.from(head)),
      fc
        .tuple(fc.constantFrom(0x88, 0x08), fc.constantFrom(0, 1, 2, 0x82, 0x85))
        .map(head => Uint8Array.from(head)),
    ),
    { maxLength: 30 },
  )
  .map(parts => Buffer.concat(parts));

test('any bytes, cut anywhere, are the same frames, and those that another reading finds', () => {
  fc.assert(
    fc.property(anyBytes, fc.array(fc.nat(20)), (bytes, sizes) => {
      const tracker = new FrameTracker();
      let at = 0;
      for (const size of sizes) at += tracker.push(bytes.subarray(at, at + size));
      tracker.push(bytes.subarray(at));
      const { messages, closeCode, lost, atFrameBoundary, atMessageBoundary } = tracker;
      expect({ messages, closeCode, lost, atFrameBoundary, atMessageBoundary }).toEqual(
        read(bytes),
      );
    }),
    { numRuns: 1_000 },
  );
});

test('garbage never throws and is always consumed whole', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), bytes => {
      expect(new FrameTracker().push(bytes)).toBe(bytes.length);
    }),
  );
});

test('a reason that is too long for a control frame is cut between characters', () => {
  const bytes = closeFrame(1012, 'ü'.repeat(100));
  expect(bytes.length).toBeLessThanOrEqual(127);
  expect(bytes.subarray(4).toString('utf8')).toBe('ü'.repeat(61));
});

test('pings are handed over wherever the stream is cut', () => {
  const pings: string[] = [];
  const tracker = new FrameTracker(payload => void pings.push(payload.toString()));
  const stream = Buffer.concat([
    wholeFrame(OPCODE.text, Buffer.from('a text')),
    wholeFrame(OPCODE.ping, Buffer.from('one')),
    wholeFrame(OPCODE.ping, Buffer.alloc(0)),
    wholeFrame(OPCODE.pong, Buffer.from('not this')),
    wholeFrame(OPCODE.ping, Buffer.from('two')),
  ]);
  for (const byte of stream) tracker.push(Buffer.from([byte]));
  expect(pings).toEqual(['one', '', 'two']);
  const masked: string[] = [];
  const client = new FrameTracker(payload => void masked.push(payload.toString()));
  const bytes = wholeFrame(OPCODE.ping, Buffer.from('a longer one'), Buffer.from([9, 200, 3, 4]));
  for (const byte of bytes) client.push(Buffer.from([byte]));
  expect(masked).toEqual(['a longer one']);
  tracker.push(stream);
  expect(pings).toHaveLength(6);
});

test.each([0, 125, 126, 65_535, 65_536])(
  'a message of %i bytes is one frame by the book',
  length => {
    const payload = Buffer.alloc(length, 'a');
    expect(wholeFrame(OPCODE.text, payload)).toEqual(
      frame({ opcode: 1, fin: true, length, mask: null }),
    );
    const mask = [1, 2, 3, 4];
    expect(wholeFrame(OPCODE.text, payload, Buffer.from(mask))).toEqual(
      frame({ opcode: 1, fin: true, length, mask }),
    );
  },
);
