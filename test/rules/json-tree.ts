// Events in whatever way JSON can be written, and what their routing fields say by the tree they were written from.
import fc from 'fast-check';
import { isolationOf } from './isolation-case.ts';

const isolation = isolationOf();
export const ROUTING: readonly string[] = isolation.rules.routing;
export const NAMING: readonly string[] = ['id', 'user_id', ...ROUTING];
export const ENVELOPES: readonly string[] = isolation.rules.envelopes;

/** JSON as a tree in which a key may come twice. */
export type Tree =
  | string
  | { readonly list: readonly Tree[] }
  | { readonly fields: readonly Field[] };
export type Field = readonly [key: string, value: Tree];

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
export const event = fc
  .array(fc.tuple(name, tree), { minLength: 1, maxLength: 8 })
  .map((fields): { readonly fields: readonly Field[] } => ({ fields }));

/** Writes a tree down; `dice` decides where there are blanks and which characters are escaped. */
export function written(value: Tree, dice: () => number): string {
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

export const dice = fc.infiniteStream(fc.nat(989)).map(stream => () => Number(stream.next().value));

/** What each field in question says, every occurrence of it, straight from the tree. */
export function truth(fields: readonly Field[], outer: readonly string[] = []): string[] {
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
    const isHis = named.includes('own') || named.includes('among');
    if (!isHis) return named.includes('foreign') ? 'foreign' : 'nobody';
    return named.includes('foreign') || named.includes('among') ? 'among' : 'own';
  }
  // An object is one user, of whom nothing that names him may say another; a key that comes twice says both.
  const naming = value.fields.filter(([key]) => NAMING.includes(key));
  const named = all((naming.length > 0 ? naming : value.fields).map(([, member]) => member));
  if (named.includes('foreign')) return 'foreign';
  if (named.includes('among')) return 'among';
  return named.includes('own') ? 'own' : 'nobody';
}
