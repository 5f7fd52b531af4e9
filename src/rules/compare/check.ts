// What a comparison may not excuse, whoever asks for it. A rule that hides whom an event is for, or
// whose it is, hides the very faults that a comparison is there for.
import type { NoiseProfile } from './noise.ts';
import { stepsOf } from './place.ts';
import { type Allowance, type CompareRules, isUserField, OF_USERS } from './rules.ts';

/** More rules than a person reviews. */
const MOST_ALLOWANCES = 1_000;
/** As deep as values are compared. */
const MOST_STEPS = 64;
const POINTER = /^(?:\/(?:[^~/]|~[01])*)+$/;

/** A rule that may not be. `field` is its place in the rules, `sentence` what would be right. */
export class RuleError extends RangeError {
  readonly field: string;
  readonly sentence: string;

  constructor(field: string, sentence: string) {
    super(`${field} ${sentence}`);
    this.name = 'RuleError';
    this.field = field;
    this.sentence = sentence;
  }
}

/** Throws `RuleError`. */
export function checkRules(rules: CompareRules, profile: NoiseProfile | null): void {
  const { envelopes, key, lanes, allow } = rules;
  for (const [index, name] of envelopes.entries()) {
    if (name === '' || name === 'type' || isUserField(name)) {
      refuse(`envelopes[${index}]`, `must name an object at an event's root, not "${name}"`);
    }
  }
  const pointers = {
    ...{ 'key.all': key.all, 'key.first': key.first, 'key.shared': key.shared },
    ...{ 'key.except': key.except, lanes },
  };
  for (const [field, list] of Object.entries(pointers)) {
    for (const [index, pointer] of list.entries()) checkPointer(`${field}[${index}]`, pointer);
  }
  if (allow.length > MOST_ALLOWANCES) {
    refuse('allow', `must have at most ${MOST_ALLOWANCES} entries (has ${allow.length})`);
  }
  for (const [index, allowance] of allow.entries()) {
    checkAllowance(`allow[${index}]`, allowance, rules);
  }
  for (const [index, { path }] of (profile?.fields ?? []).entries()) {
    checkAllowance(`profile.fields[${index}]`, { as: 'anything', path }, rules);
  }
}

function checkAllowance(at: string, allowance: Allowance, rules: CompareRules): void {
  const { as, path, types } = allowance;
  const field = `${at}.path`;
  checkPointer(field, path);
  if (types?.some(type => type === '')) refuse(`${at}.types`, 'must name event types');
  if (as === 'time' && !(allowance.withinMs >= 0)) {
    refuse(`${at}.withinMs`, 'must be 0 or more milliseconds');
  }
  if (as === 'number' && !(allowance.within >= 0)) refuse(`${at}.within`, 'must be 0 or more');
  if (as === 'any-order' && allowance.by !== undefined) checkPointer(`${at}.by`, allowance.by);

  const steps = stepsOf(path);
  const last = steps.at(-1) ?? '';
  const outer = steps.slice(0, -1);
  // A batch is as many events: an element's number stands for each of them as well.
  const atTop = outer.every(step => isElement(step) || rules.envelopes.includes(step));
  if (last === 'type' && atTop) {
    refuse(field, 'is what an event is; an event of another type is never the same');
  }
  // A list of recipients, or an object with a user's id, names him as well.
  const user = steps.find(isUserField);
  if (user !== undefined && !OF_USERS.has(as)) {
    refuse(
      field,
      `names a user ("${user}"): who an event is for and whose it is must arrive untouched, so it can not be "${as}"`,
    );
  }
  if (atTop && (isElement(last) || (rules.envelopes.includes(last) && as !== 'null-or-absent'))) {
    refuse(
      field,
      'covers the fields that say who an event is for and whose it is; name single fields instead',
    );
  }
  if (UNKEYED.has(as) && rules.key.all.some(pointer => covers(steps, pointer, rules.envelopes))) {
    refuse(
      field,
      `is part of the event key (key.all): events that differ there are different events, so it can not be "${as}"`,
    );
  }
}

const isElement = (step: string): boolean => step === '*' || /^\d+$/.test(step);

/** Kinds that make a value unfit for telling events apart. */
export const UNKEYED: ReadonlySet<Allowance['as']> = new Set([
  'time',
  'number',
  'generated-id',
  'candidate-adds',
  'any-order',
  'anything',
]);

/** Is an allowance's path the same place as a pointer, or above it, both read through envelopes? */
export function covers(
  steps: readonly string[],
  pointer: string,
  envelopes: readonly string[],
): boolean {
  const bare = (from: readonly string[]) =>
    from.length > 1 && envelopes.includes(from[0] ?? '') ? from.slice(1) : from;
  const target = bare(stepsOf(pointer));
  return bare(steps).every((step, index) => step === '*' || step === target[index]);
}

function checkPointer(field: string, pointer: string): void {
  if (!POINTER.test(pointer)) {
    refuse(field, `must be a JSON pointer (RFC 6901), such as /event_id (got "${pointer}")`);
  }
  if (stepsOf(pointer).length > MOST_STEPS) {
    refuse(field, `must have at most ${MOST_STEPS} steps, as deep as values are compared`);
  }
}

function refuse(field: string, sentence: string): never {
  throw new RuleError(field, sentence);
}
