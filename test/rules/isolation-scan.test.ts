// The scan against a full parse: whatever way a message is written in, and whatever is done to its
// bytes, a foreign address that a reader would see is found.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { examine, inspect } from '../../src/rules/isolation/inspect.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import { sanitize } from '../../src/rules/isolation/sanitize.ts';
import { scan } from '../../src/rules/isolation/scan.ts';
import { isolationOf, USER } from './isolation-case.ts';

const isolation = isolationOf();
const recipient = new Recipient(USER);
const RUNS = { numRuns: 2_000 };
const ROUTING: readonly string[] = isolation.rules.routing;
const NAMING: readonly string[] = ['id', 'user_id', ...ROUTING];
const ENVELOPES: readonly string[] = isolation.rules.envelopes;

/** JSON as a tree in which a key may come twice. */
type Tree = string | { readonly list: readonly Tree[] } | { readonly fields: readonly Field[] };
type Field = readonly [key: string, value: Tree];

const name = fc.constantFrom(
  ...['recipient_id', 'target_user_id', 'userId', 'data', 'payload', 'type', 'user_id'],
  ...['id', 'target_user_i', 'UserId', 'message', '__proto__', '', 'é"\\\n'],
);
const scalar = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom('"user_1"', '"user_2"', '"u1@example.com"', '""', 'null'),
  },
  fc.constantFrom('0', '42', '1e3', '9007199254740993', '-0.5', 'true', 'false'),
  fc.constantFrom('"{\\"userId\\":\\"user_2\\"}"', '"userId"', '"\\"userId"', '"\\\\u005f"'),
  fc.string({ unit: 'grapheme' }).map(text => JSON.stringify(text)),
);
const { tree } = fc.letrec<{ tree: Tree; object: Tree }>(tie => ({
  tree: fc.oneof(
    { maxDepth: 5, depthSize: 'small' },
    { weight: 3, arbitrary: scalar },
    fc.array(tie('tree'), { maxLength: 3 }).map(list => ({ list })),
    { weight: 3, arbitrary: tie('object') },
  ),
  object: fc.array(fc.tuple(name, tie('tree')), { maxLength: 6 }).map(fields => ({ fields })),
}));
const event = fc
  .array(fc.tuple(name, tree), { minLength: 1, maxLength: 8 })
  .map((fields): { readonly fields: readonly Field[] } => ({ fields }));

/** Writes a tree down; `dice` decides where there are blanks and which characters are escaped. */
function written(value: Tree, dice: () => number): string {
  const blank = () => [' ', '\n', '\t', '\r', '', '', '', '', ''][dice() % 9] ?? '';
  const text = (json: string) => (json.startsWith('"') ? escaped(json, dice) : json);
  const join = (parts: readonly string[]) => parts.join(`${blank()},${blank()}`);
  if (typeof value === 'string') return text(value);
  if ('list' in value) {
    return `[${blank()}${join(value.list.map(item => written(item, dice)))}${blank()}]`;
  }
  const fields = value.fields.map(
    ([key, inner]) => `${text(JSON.stringify(key))}${blank()}:${blank()}${written(inner, dice)}`,
  );
  return `{${blank()}${join(fields)}${blank()}}`;
}

function escaped(json: string, dice: () => number): string {
  let out = '';
  for (const character of JSON.parse(json) as string) {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    const isOne = character.length === 1;
    if (isOne && dice() % 11 === 0) out += `\\u${dice() % 2 === 0 ? code : code.toUpperCase()}`;
    else if (character === '/' && dice() % 2 === 0) out += '\\/';
    else out += JSON.stringify(character).slice(1, -1);
  }
  return `"${out}"`;
}

const dice = fc.infiniteStream(fc.nat(989)).map(stream => () => Number(stream.next().value));

/** What each field in question says, every occurrence of it, straight from the tree. */
function truth(fields: readonly Field[], outer: readonly string[] = []): string[] {
  return fields.flatMap(([key, value]) => {
    const path = [...outer, key];
    if (ROUTING.includes(key)) return [`/${path.join('/')} ${namedBy(value)}`];
    const isInside = typeof value === 'object' && 'fields' in value && ENVELOPES.includes(key);
    return isInside && path.length <= 2 ? truth(value.fields, path) : [];
  });
}

function namedBy(value: Tree, depth = 0): string {
  if (typeof value === 'string') {
    if (['""', 'null', '0', 'false', 'true'].includes(value)) return 'nobody';
    return ['"user_1"', '"u1@example.com"'].includes(value) ? 'own' : 'foreign';
  }
  if (depth === 2) return 'foreign';
  const all = (members: readonly Tree[]) => members.map(member => namedBy(member, depth + 1));
  if ('list' in value) {
    const named = all(value.list);
    const isAmong = depth === 0 && named.includes('foreign');
    if (named.includes('own')) return isAmong ? 'among' : 'own';
    return named.includes('foreign') ? 'foreign' : 'nobody';
  }
  // An object is one user, of whom nothing that names him may say another; a key that comes twice says both.
  const naming = value.fields.filter(([key]) => NAMING.includes(key));
  const named = all((naming.length > 0 ? naming : value.fields).map(([, member]) => member));
  if (named.includes('foreign')) return 'foreign';
  return named.includes('own') ? 'own' : 'nobody';
}

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
