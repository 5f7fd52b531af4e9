// Plays what befalls several users of a route, as data: `test/fixtures/isolation-told/*.json`, one JSON object a file.
//
//   before   steps of every case, not given: none
//   cases    name    a sentence: what happens, and who is told of
//            rules   fields of IsolationRules that replace the default's
//            allow   what the comparison allows besides, see Allowance
//            steps   in order, each one of
//                    [user, side or "both", event, ...]     legs of his socket say that
//                    [user, "tells", text]                  he says that there; null: what nobody can read
//                    [user, "overhears", event, ...]        he is not compared, and legacy sends him that
//                    [user, "asks", target, status, body, status, body]   what legacy and candidate answer him
//                    ["pass", ms]
//            told    all that is told, but for what both services sent: "rule side user path"
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import type { AnswerSample } from '../../src/ports.ts';
import type { Allowance } from '../../src/rules/compare/rules.ts';
import type { Side } from '../../src/rules/decide.ts';
import type { IsolationRules } from '../../src/rules/isolation/rules.ts';
import { judged } from './watched-users.ts';

const FOLDER = join(import.meta.dirname, '../fixtures/isolation-told');

interface ToldCase {
  readonly name: string;
  readonly rules?: Partial<IsolationRules>;
  readonly allow?: readonly Allowance[];
  readonly steps: readonly Step[];
  readonly told: readonly string[];
}

interface ToldFile {
  readonly before?: readonly Step[];
  readonly cases: readonly ToldCase[];
}

type Asked = [target: string, number, object, number, object];

type Step =
  | readonly ['pass', number]
  | readonly [user: string, how: 'asks', ...asked: Asked]
  | readonly [user: string, how: 'tells', text: string | null]
  | readonly [user: string, how: 'overhears', ...events: object[]]
  | readonly [user: string, how: Side | 'both', ...events: (object | string)[]];

const CASES = readdirSync(FOLDER).flatMap(file => {
  const text = readFileSync(join(FOLDER, file), 'utf8');
  const { before = [], cases } = JSON.parse(text) as ToldFile;
  return cases.map(one => ({ file, one: { ...one, steps: [...before, ...one.steps] } }));
});

test.each(CASES)('$file: $one.name', ({ one }) => {
  const { join: enter, overhear, ask, pass, whats } = judged(one.rules, [], one.allow);
  const users = new Map<string, ReturnType<typeof enter>>();
  // Whoever is named is there from the beginning, and has been for long enough.
  const overheard = new Map<string, ReturnType<typeof overhear>>();
  for (const [user, how] of one.steps) {
    if (user === 'pass' || users.has(user) || overheard.has(user)) continue;
    if (how === 'overhears') overheard.set(user, overhear(user));
    else users.set(user, enter(user));
  }
  pass(1_000);
  for (const step of one.steps) play(step);
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual(one.told);

  function play(step: Step): void {
    if (step[0] === 'pass') return void pass(step[1] as number);
    const [user, how, ...what] = step as Exclude<Step, readonly ['pass', number]>;
    if (how === 'overhears') return overheard.get(user)?.gets(...(what as object[]));
    const his = users.get(user) as ReturnType<typeof enter>;
    switch (how) {
      case 'asks': {
        const [target, legacy, its, candidate, others] = what as Asked;
        return ask(user, answer(legacy, its), answer(candidate, others), target);
      }
      case 'tells':
        return his.tells(what[0] as string | null);
      case 'both':
        return his.both(...(what as object[]));
      default:
        return his.say(how, ...(what as object[]));
    }
  }
});

function answer(status: number, body: object): AnswerSample {
  return {
    ...{ status, headers: ['content-type', 'application/json'], end: 'complete' },
    ...{ body: Buffer.from(JSON.stringify(body)), marker: null, code: null, ms: 1 },
  };
}
