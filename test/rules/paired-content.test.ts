// What was paired of late is remembered as a map of prints to times would, in two generations.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PairedContent } from '../../src/rules/pairing/paired-content.ts';

const MOST_REMEMBERED = 1_024;

/** The same in the plainest way. */
class Plain {
  #young = new Map<number, number>();
  #old = new Map<number, number>();

  note(print: number, atMs: number): void {
    if (this.#young.size >= MOST_REMEMBERED) this.age();
    this.#young.set(print, atMs);
  }

  has(print: number, sinceMs: number): boolean {
    return (this.#young.get(print) ?? this.#old.get(print) ?? -1) >= sinceMs;
  }

  age(): void {
    this.#old = this.#young;
    this.#young = new Map();
  }
}

test('it remembers what was noted, when, and for two generations, however many there are', () => {
  const print = fc.oneof(fc.nat(50), fc.nat(0x3fffffff), fc.constant(0), fc.constant(0x3fffffff));
  // Of one multiple of the slots: all of them look for the same one first.
  const crowd = fc.nat(2_000).map(n => n * 4_096);
  const step = fc.oneof(
    { weight: 20, arbitrary: fc.record({ print: fc.oneof(print, crowd) }) },
    { weight: 1, arbitrary: fc.constant('age' as const) },
    { weight: 1, arbitrary: fc.record({ many: fc.nat(3_000), from: fc.nat(10_000) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const [content, plain] = [new PairedContent(), new Plain()];
      const seen = new Set<number>([7]);
      let now = 1_700_000_000_000;
      const note = (each: number) => {
        now += 1;
        seen.add(each);
        content.note(each, now);
        plain.note(each, now);
      };
      for (const each of steps) {
        if (each === 'age') for (const one of [content, plain]) one.age();
        else if ('print' in each) note(each.print);
        else for (let n = 0; n < each.many; n += 1) note(each.from + n);
      }
      for (const each of seen) {
        for (const since of [now - 100_000, now - 10, now]) {
          expect(content.has(each, since)).toBe(plain.has(each, since));
        }
      }
      expect(content.has(null, 0)).toBe(false);
    }),
    { numRuns: 50 },
  );
});
