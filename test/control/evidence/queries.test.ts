// Pages of the evidence that is kept, by filters that leave much of it and little.
import { DatabaseSync } from 'node:sqlite';
import { expect, test, vi } from 'vitest';
import { evidenceQueries } from '../../../src/control/evidence/queries.ts';
import { migrate } from '../../../src/control/evidence/schema.ts';

/** Example n is of group n % 40, and every third one of the group behind that; group 0 is of the type `rare`. */
function kept() {
  const database = new DatabaseSync(':memory:');
  migrate(database);
  const group = database.prepare('INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, 1, 0, 0)');
  for (let n = 0; n < 40; n += 1)
    group.run(n, 'events', n === 0 ? 'rare' : 'chat', 'mismatch', 'value', `/${n}`);
  const example = database.prepare('INSERT INTO examples VALUES (?, 0, ?)');
  const member = database.prepare('INSERT INTO memberships VALUES (?, ?)');
  for (let n = 1; n <= 400; n += 1) {
    example.run(n, '{}');
    member.run(n % 40, n);
    if (n % 3 === 0) member.run((n + 1) % 40, n);
  }
  return database;
}

// The fault: of a filter that leaves everything all later examples were sorted for each page of a hundred.
test.each([
  ['rare', (n: number) => n % 40 === 0 || (n % 3 === 0 && n % 40 === 39), true],
  ['chat', (n: number) => n % 40 !== 0 || n % 3 === 0, false],
] as const)(
  'a page of the type %s has what is next, and only where that is little all of it is sorted',
  (type, isOf, isSorted) => {
    const database = kept();
    const prepare = vi.spyOn(database, 'prepare');
    const { findings } = evidenceQueries(database);
    const ids: number[] = [];
    for (let after: number | null = 0; after !== null; ) {
      const page = findings({ type, limit: 7, after });
      ids.push(...page.findings.map(({ id }) => id));
      after = page.after;
    }
    expect(ids).toEqual(Array.from({ length: 400 }, (_, index) => index + 1).filter(isOf));
    const asked = prepare.mock.calls.map(([text]) => text).find(text => /examples/.test(text));
    const plan = database.prepare(`EXPLAIN QUERY PLAN ${asked}`).all(0, type, 7, 7);
    expect(plan.some(({ detail }) => /TEMP B-TREE/.test(String(detail)))).toBe(isSorted);
  },
);
