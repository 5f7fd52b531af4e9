import { expect, test } from 'vitest';
import { type Hash64, Ownership, SHARED } from '../../src/rules/isolation/ownership.ts';
import { SECRET_BYTES, secretHash } from '../../src/rules/isolation/secret-hash.ts';

const hash = secretHash(new Uint8Array(SECRET_BYTES).fill(3));
const [ANN, BOB] = [hash('user', 'ann'), hash('user', 'bob')];
const LIMITS = { entries: 1_000, maxAgeMs: 60_000 };
const thread = (n: number): Hash64 => hash('thread_id', `thread_${n}`);

test('the first to get an identifier owns it; what two got is nobody’s, for good', () => {
  const ownership = new Ownership(LIMITS);
  expect(ownership.ownerOf(thread(1))).toBeNull();
  expect(ownership.teach(thread(1), ANN, 0)).toBe('new');
  expect(ownership.teach(thread(1), ANN, 1)).toBe('his');
  expect(ownership.ownerOf(thread(1))).toEqual(ANN);
  expect(ownership.teach(thread(1), BOB, 2)).toBe(SHARED);
  expect(ownership.teach(thread(1), ANN, 3)).toBe(SHARED);
  expect(ownership.ownerOf(thread(1))).toBe(SHARED);
});

test('what nobody was sent for the whole time is forgotten, what was sent again is not', () => {
  const ownership = new Ownership(LIMITS);
  ownership.teach(thread(1), ANN, 0);
  ownership.teach(thread(2), ANN, 0);
  for (const at of [30_000, 60_000, 90_000]) ownership.teach(thread(2), ANN, at);
  expect(ownership.ownerOf(thread(1))).toBeNull();
  expect(ownership.ownerOf(thread(2))).toEqual(ANN);
});

test('beyond its entries the older half is forgotten, and what is shared is not taken for owned', () => {
  const ownership = new Ownership(LIMITS);
  ownership.teach(thread(0), ANN, 0);
  ownership.teach(thread(0), BOB, 0);
  for (let n = 1; n <= 1_500; n += 1) ownership.teach(thread(n), ANN, 1);
  expect(ownership.ownerOf(thread(0))).toBe(SHARED);
  for (let n = 1_501; n <= 3_500; n += 1) ownership.teach(thread(n), ANN, 2);
  expect(ownership.size).toBeLessThanOrEqual(2 * LIMITS.entries);
  expect(ownership.takeCrowdedOut()).toBeGreaterThan(0);
  expect(ownership.takeCrowdedOut()).toBe(0);
  expect(ownership.ownerOf(thread(0))).toBeNull();
  for (let n = 2_501; n <= 3_500; n += 1) expect(ownership.ownerOf(thread(n))).toEqual(ANN);
});

test('a million identifiers of a thousand users take at most 150 MB, and none is mistaken', () => {
  const users = Array.from({ length: 1_000 }, (_, n) => hash('user', `user_${n}`));
  const ownership = new Ownership({ entries: 1_000_000, maxAgeMs: 24 * 3_600_000 });
  const before = memory();
  for (let n = 0; n < 1_000_000; n += 1) {
    ownership.teach(thread(n), users[n % 1_000] as Hash64, n);
  }
  expect(ownership.size).toBe(1_000_000);
  expect(memory() - before).toBeLessThan(150 * 1024 * 1024);
  expect(ownership.bytes).toBeLessThan(75 * 1024 * 1024);
  for (let n = 0; n < 1_000_000; n += 997) {
    expect(ownership.ownerOf(thread(n))).toEqual(users[n % 1_000]);
    expect(ownership.ownerOf(thread(1_000_000 + n))).toBeNull();
  }
}, 60_000);

test('a text has another hash in another class, and no two pairs are written the same', () => {
  const all = [hash('a', 'bc'), hash('ab', 'c'), hash('', 'abc'), hash('abc', ''), hash('b', 'bc')];
  const texts = all.map(({ high, low }) => `${high} ${low}`);
  expect(new Set(texts).size).toBe(all.length);
  const other = secretHash(new Uint8Array(SECRET_BYTES).fill(4));
  expect(other('a', 'bc')).not.toEqual(hash('a', 'bc'));
});

function memory(): number {
  const { rss } = process.memoryUsage();
  return rss;
}
