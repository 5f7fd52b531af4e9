// Conformance cases of isolation, as data: `test/fixtures/isolation/*.json`, one JSON object a file.
//
//   cases    name       a sentence: what is written, and what must be found
//            text       the message; or instead of it
//            hex        its bytes
//            repeat     [before, unit, times, after]: built of them
//            nested     so many arrays in each other beside a foreign `userId`;
//            nestedName so many around one
//            isBinary, type    see `MessageForm`
//            rules      fields of IsolationRules that replace the default's
//            subject    { id, aliases }; { id: "user_1", aliases: ["u1@example.com"] }
//            scan       what the scan must say; left out: not asked
//            says       [path says] of each routing field, sorted; or "uninspectable because"
//            examined   what a lane is told, where that does not follow from `says`
//            owner      whose it is by the first field that names somebody else; null: nobody alone
//            sanitized  the text after what names others was rewritten
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Subject } from '../../src/rules/decide.ts';
import {
  DEFAULT_ISOLATION,
  Isolation,
  type IsolationRules,
} from '../../src/rules/isolation/rules.ts';

const FOLDER = join(import.meta.dirname, '../fixtures/isolation');

export interface IsolationCase {
  readonly name: string;
  readonly text?: string;
  readonly hex?: string;
  readonly repeat?: readonly [before: string, unit: string, times: number, after: string];
  readonly nested?: number;
  readonly nestedName?: number;
  readonly isBinary?: boolean;
  readonly type?: string;
  readonly rules?: Partial<IsolationRules>;
  readonly subject?: Subject;
  readonly scan?: 'clean' | 'parse';
  readonly says: readonly string[] | string;
  readonly examined?: 'clean' | 'foreign' | 'uninspectable';
  readonly owner?: string | null;
  readonly sanitized?: string;
}

export const USER: Subject = { id: 'user_1', aliases: ['u1@example.com'] };

export function readCases(): { file: string; one: IsolationCase }[] {
  return readdirSync(FOLDER).flatMap(file => {
    const text = readFileSync(join(FOLDER, file), 'utf8');
    const { cases } = JSON.parse(text) as { readonly cases: readonly IsolationCase[] };
    return cases.map(one => ({ file, one }));
  });
}

export function isolationOf(rules: Partial<IsolationRules> = {}): Isolation {
  return new Isolation({ ...DEFAULT_ISOLATION, ...rules });
}

export function bytesOf({ text, hex, repeat, nested, nestedName }: IsolationCase): Buffer {
  if (hex !== undefined) return Buffer.from(hex, 'hex');
  if (repeat !== undefined) {
    const [before, unit, times, after] = repeat;
    return Buffer.from(before + unit.repeat(times) + after);
  }
  const within = (depth: number, what: string) => '['.repeat(depth) + what + ']'.repeat(depth);
  if (nested !== undefined) return Buffer.from(`{"a":${within(nested, '')},"userId":"user_2"}`);
  if (nestedName !== undefined) return Buffer.from(`{"userId":${within(nestedName, '"user_1"')}}`);
  return Buffer.from(text ?? '');
}
