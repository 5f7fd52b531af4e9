// Are two events without a pair, at the same place between their neighbours, one that was changed?
import { canonical } from '../compare/canonical.ts';
import type { TypePlan } from '../compare/compile.ts';
import { instantMs } from '../compare/instant.ts';
import { isRecord, type JsonRecord } from '../compare/record.ts';
import { isUserField } from '../compare/rules.ts';
import { keyOf } from '../event-key.ts';
import type { Field, Pending } from './pending.ts';

/** Of the fields that say something, so many must be equal. Events of one run share a third. */
const LEAST_ALIKE = 2 / 3;
/** What an event says of a time so close to its arrival says when it was sent: by whatever clock a service has. */
const SENT_WITHIN_MS = 60_000;

/**
 * How likely it is that they are one, from 0 (others) to 1: above 0 for the same event under another type, and
 * for an event without a name of its own whose content changed in part, or which each service stamped for
 * itself. Events that have names of their own are others when their names are others.
 */
export function likelihood(legacy: Pending, candidate: Pending): number {
  const [left, right] = [legacy.value, candidate.value];
  if (!isRecord(left) || !isRecord(right)) return isRecord(left) || isRecord(right) ? 0 : 1;
  if (legacy.type === candidate.type) {
    if (legacy.isPointed || candidate.isPointed) return 0;
    if (isSameButForStamps(legacy, candidate)) return 1;
  } else if (legacy.isPointed !== candidate.isPointed) return 0;
  else if (legacy.isPointed && !namesSame(legacy.plan, left, right)) return 0;
  const alike = likeness(legacy, candidate);
  return alike >= LEAST_ALIKE ? alike : 0;
}

/** True where they differ in their type and in what names users at most. */
export function isSameButForUsers(legacy: Pending, candidate: Pending): boolean {
  return likenessOf(legacy, candidate) === 1;
}

/** Share of what they say that is the same, whatever their names; 0 of what is no event. */
export function likenessOf(legacy: Pending, candidate: Pending): number {
  return isRecord(legacy.value) && isRecord(candidate.value) ? likeness(legacy, candidate) : 0;
}

/** Is it the place of an event's type, or of what names a user, at the root or in an envelope? */
export function isOfTypeOrUser(path: string, { envelopes }: TypePlan): boolean {
  const [outer = '', ...inner] = path.split('/').slice(1);
  if (inner.length === 0) return outer === 'type' || isUserField(outer);
  return (
    inner.length === 1 &&
    envelopes.some(({ name }) => name === outer) &&
    isUserField(inner[0] ?? '')
  );
}

/** Has it content beside its type, its users, and what all of its run have? */
export function saysSomething(event: Pending): boolean {
  const { plan } = event;
  const shared = [...plan.keyAll, ...plan.lanes.map(({ pointer }) => pointer)];
  const isShared = (name: string) => shared.some(pointer => pointer[0] === name);
  return [...fieldsOf(event, plan)].some(([name, { isUser }]) => !isUser && !isShared(name));
}

/** All that their keys are made of but the type. */
function namesSame(plan: TypePlan, legacy: JsonRecord, candidate: JsonRecord): boolean {
  return keyOf(plan, { ...legacy, type: '' }).key === keyOf(plan, { ...candidate, type: '' }).key;
}

/** Share of equal fields, wherever they stand, without those that any two events may share. */
function likeness(legacy: Pending, candidate: Pending): number {
  const left = fieldsOf(legacy, legacy.plan);
  const right = fieldsOf(candidate, legacy.plan);
  let all = 0;
  let equal = 0;
  for (const [name, { text, isUser }] of left) {
    if (isUser) continue;
    all += 1;
    if (right.get(name)?.text === text) equal += 1;
  }
  for (const [name, { isUser }] of right) if (!isUser && !left.has(name)) all += 1;
  return all === 0 ? 1 : equal / all;
}

/** Of a small event its stamps are the half: do both say something beside those, and all of it alike, users included? */
function isSameButForStamps(legacy: Pending, candidate: Pending): boolean {
  const left = fieldsOf(legacy, legacy.plan);
  const right = fieldsOf(candidate, legacy.plan);
  if (left.size !== right.size) return false;
  let saysSame = false;
  for (const [name, { text, isUser, isStamp }] of left) {
    const other = right.get(name);
    const areStamps = isStamp && other?.isStamp === true;
    if (!areStamps && other?.text !== text) return false;
    saysSame ||= !areStamps && !isUser;
  }
  return saysSame;
}

function isStamp(value: unknown, at: number): boolean {
  const ms = instantMs(value);
  return ms !== undefined && Math.abs(ms - at) <= SENT_WITHIN_MS;
}

/**
 * What it says beside its type, by the name of each field, wherever that stands; nothing of what is no event. An event is
 * held against dozens of others: it is read once, but for those of another type.
 */
function fieldsOf(event: Pending, plan: TypePlan): ReadonlyMap<string, Field> {
  if (plan !== event.plan) return readFields(event, plan);
  event.fields ??= readFields(event, plan);
  return event.fields;
}

function readFields({ value: event, at }: Pending, plan: TypePlan): ReadonlyMap<string, Field> {
  const fields = new Map<string, Field>();
  const add = (name: string, value: unknown) => {
    const isCommon = name === 'type' || plan.undigested.has(name);
    if (isCommon || value === null) return;
    const about = { isUser: isUserField(name), isStamp: isStamp(value, at) };
    fields.set(name, { text: canonical(value), ...about });
  };
  for (const [name, value] of Object.entries(isRecord(event) ? event : {})) {
    if (!isRecord(value) || !plan.envelopes.some(each => each.name === name)) add(name, value);
    else for (const [inner, its] of Object.entries(value)) add(inner, its);
  }
  return fields;
}
