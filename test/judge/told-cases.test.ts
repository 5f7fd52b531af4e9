// Plays what befalls several users of a route, as data: `test/fixtures/isolation-told/*.json`, one JSON object a file.
//
//   cases    name    a sentence: what happens, and who is told of
//            rules   fields of IsolationRules that replace the default's
//            allow   what the comparison allows besides, see Allowance
//            steps   in order, each one of
//                    [user, side or "both", event, ...]     legs of his socket say that
//                    [user, "tells", text]                  he says that there; null: what nobody can read
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

type Asked = [target: string, number, object, number, object];

type Step =
  | readonly ['pass', number]
  | readonly [user: string, how: 'asks', ...asked: Asked]
  | readonly [user: string, how: 'tells', text: string | null]
  | readonly [user: string, how: Side | 'both', ...events: (object | string)[]];

const CASES = readdirSync(FOLDER).flatMap(file => {
  const text = readFileSync(join(FOLDER, file), 'utf8');
  const { cases } = JSON.parse(text) as { readonly cases: readonly ToldCase[] };
  return cases.map(one => ({ file, one }));
});

test.each(CASES)('$file: $one.name', ({ one }) => {
  const { join: enter, ask, pass, whats } = judged(one.rules, [], one.allow);
  const users = new Map<string, ReturnType<typeof enter>>();
  // Whoever is named is there from the beginning, and has been for long enough.
  for (const [user] of one.steps)
    if (user !== 'pass' && !users.has(user)) users.set(user, enter(user));
  pass(1_000);
  for (const step of one.steps) play(step);
  pass(2 * WINDOW_MS);
  expect(whats().filter(what => !what.endsWith('on-both'))).toEqual(one.told);

  function play(step: Step): void {
    if (step[0] === 'pass') return void pass(step[1] as number);
    const [user, how, ...what] = step as Exclude<Step, readonly ['pass', number]>;
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
