// The scan against a full parse: whatever way a message is written in, and whatever is done to its
// bytes, a foreign address that a reader would see is found.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { examine, inspect } from '../../src/rules/isolation/inspect.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import { sanitize } from '../../src/rules/isolation/sanitize.ts';
import { scan } from '../../src/rules/isolation/scan.ts';
import { isolationOf, USER } from './isolation-case.ts';
import { dice, ENVELOPES, event, ROUTING, truth, written } from './json-tree.ts';

const isolation = isolationOf();
const recipient = new Recipient(USER);
const RUNS = { numRuns: 2_000 };

/** What a reader in a browser or in Python makes of a text that may be no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const saysOf = (bytes: Buffer): string[] => {
  const inspection = inspect(isolation, recipient, bytes);
  if (inspection.kind !== 'inspected') throw new Error(inspection.because);
  return inspection.fields.map(({ path, says }) => `${path} ${says}`);
};

test('every occurrence of every routing field is read, in whatever way it is written', () => {
  fc.assert(
    fc.property(event, dice, (one, roll) => {
      const bytes = Buffer.from(written(one, roll));
      const expected = truth(one.fields);
      expect(saysOf(bytes)).toEqual(expected);
      if (scan(isolation, recipient, bytes) === 'clean') {
        expect(expected.filter(line => line.endsWith('foreign'))).toEqual([]);
      }
    }),
    RUNS,
  );
});

test('in a batch as well, of which each member is an event', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 4 }), dice, (events, roll) => {
      const bytes = Buffer.from(written({ list: events }, roll));
      const expected = events.flatMap(({ fields }) => truth(fields));
      expect(saysOf(bytes)).toEqual(expected);
      const kinds = expected.map(line => line.slice(line.lastIndexOf(' ') + 1));
      const isForeign = kinds.includes('foreign');
      const kind = isForeign ? 'foreign' : kinds.includes('among') ? 'among' : 'clean';
      expect(examine(isolation, recipient, bytes).kind).toBe(kind);
    }),
    RUNS,
  );
});

test('after sanitising only foreign addresses are others, and all of them', () => {
  fc.assert(
    fc.property(event, dice, (one, roll) => {
      const text = written(one, roll);
      const bytes = Buffer.from(text);
      const examined = examine(isolation, recipient, bytes);
      if (examined.kind !== 'foreign') return;
      const safe = sanitize(isolation, recipient, bytes, examined.fields);
      expect(examine(isolation, recipient, safe).kind).toBe('clean');
      const { fields } = examined;
      const ends = [0, ...fields.map(({ end }) => end)];
      const starts = [...fields.map(({ start }) => start), bytes.length];
      let at = 0;
      for (const [index, end] of ends.entries()) {
        const piece = bytes.subarray(end, starts[index]);
        const isLast = index === ends.length - 1;
        const found = isLast ? safe.length - piece.length : safe.indexOf(piece, at);
        expect(safe.subarray(found).indexOf(piece)).toBe(0);
        expect(found).toBeGreaterThanOrEqual(at);
        at = found + piece.length;
      }
      expect(at).toBe(safe.length);
      expect(parsed(safe.toString())).toBeDefined();
    }),
    RUNS,
  );
});

test('damaged bytes are read as every reader does, or not at all', () => {
  const damage = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(3),
    put: fc.constantFrom('', '"', '\\', '{', '}', ',', ':', '\\u0075', 'null', '\u00ff', '}{', ' '),
  });
  fc.assert(
    fc.property(
      event,
      dice,
      fc.array(damage, { minLength: 1, maxLength: 3 }),
      (one, roll, hits) => {
        let text = written(one, roll);
        for (const { at, cut, put } of hits) {
          const from = Math.floor(at * text.length);
          text = text.slice(0, from) + put + text.slice(from + cut);
        }
        const bytes = Buffer.from(text);
        const examined = examine(isolation, recipient, bytes);
        const value = parsed(text);
        if (typeof value !== 'object' || value === null) return;
        // It is JSON still: what a reader sees last of each field must have been seen.
        expect(examined.kind).not.toBe('uninspectable');
        const isForeign = foreignIn(Array.isArray(value) ? [] : value);
        if (isForeign) expect(examined.kind).toBe('foreign');
      },
    ),
    RUNS,
  );
});

function foreignIn(record: object, depth = 0): boolean {
  return Object.entries(record).some(([key, value]) => {
    if (ROUTING.includes(key)) {
      return typeof value === 'string' && !['', 'user_1', 'u1@example.com'].includes(value);
    }
    const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isRecord && ENVELOPES.includes(key) && depth < 2 && foreignIn(value, depth + 1);
  });
}
