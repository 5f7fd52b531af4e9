import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Member, Roll } from '../../src/traffic/roll.ts';

interface Named extends Member {
  readonly name: number;
}

const namesOn = (roll: Roll<Named>): number[] => {
  const names: number[] = [];
  roll.each(({ name }) => names.push(name));
  return names.toSorted((a, b) => a - b);
};

test('whoever has come and not gone is on the roll, once', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 9 }), { maxLength: 60 }), moves => {
      const roll = new Roll<Named>();
      const there = new Map<number, Named>();
      for (const name of moves) {
        const member = there.get(name) ?? { name, place: -1 };
        if (there.delete(name)) roll.delete(member);
        else {
          there.set(name, member);
          roll.add(member);
        }
        expect(roll.size).toBe(there.size);
        expect(namesOn(roll)).toEqual([...there.keys()].toSorted((a, b) => a - b));
      }
    }),
  );
});

test('who is visited may leave, and everybody is visited once', () => {
  const roll = new Roll<Named>();
  for (let name = 0; name < 10; name += 1) roll.add({ name, place: -1 });
  const visited: number[] = [];
  roll.each(member => {
    visited.push(member.name);
    if (member.name % 2 === 0) roll.delete(member);
  });
  expect(visited.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(namesOn(roll)).toEqual([1, 3, 5, 7, 9]);
});
