// Plays the conformance cases; how they are written: isolation-case.ts.
import { expect, test } from 'vitest';
import { examine, type Inspection, inspect, textAt } from '../../src/rules/isolation/inspect.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import { sanitize } from '../../src/rules/isolation/sanitize.ts';
import { hasRoutingField, scan } from '../../src/rules/isolation/scan.ts';
import { bytesOf, isolationOf, readCases, USER } from './isolation-case.ts';

const CASES = readCases();

test.each(CASES)('$file: $one.name', ({ one }) => {
  const isolation = isolationOf(one.rules);
  const recipient = new Recipient(one.subject ?? USER);
  const bytes = bytesOf(one);
  const before = Buffer.from(bytes);
  const form = {
    ...(one.isBinary === undefined ? {} : { isBinary: one.isBinary }),
    ...(one.type === undefined ? {} : { type: one.type }),
  };
  if (one.scan !== undefined) expect(scan(isolation, recipient, bytes)).toBe(one.scan);
  const inspection = inspect(isolation, recipient, bytes, form);
  expect(said(inspection)).toEqual(one.says);

  const examined = examine(isolation, recipient, bytes, form);
  expect(examined.kind).toBe(one.examined ?? followsFrom(inspection));
  if (inspection.kind === 'inspected' && inspection.fields.length > 0) {
    expect(hasRoutingField(isolation, bytes)).toBe(true);
  }
  if (examined.kind === 'foreign' || examined.kind === 'among') {
    const safe = sanitize(isolation, recipient, bytes, examined.fields);
    if (one.sanitized !== undefined) expect(safe.toString()).toBe(one.sanitized);
    expect(examine(isolation, recipient, safe, form).kind).toBe('clean');
  } else expect(one.sanitized).toBeUndefined();
  if (one.owner !== undefined && examined.kind === 'foreign') {
    const [{ start, end } = { start: 0, end: 0 }] = examined.fields;
    expect(recipient.other(isolation, textAt(bytes, start, end))).toBe(one.owner);
  } else expect(one.owner).toBeUndefined();
  expect(bytes.equals(before)).toBe(true);
});

test('there are cases of everything that can be said', () => {
  const lines = CASES.flatMap(({ one }) => one.says);
  for (const word of ['own', 'among', 'foreign', 'nobody', 'provenance', 'content']) {
    expect(
      lines.some(line => line.endsWith(` ${word}`)),
      word,
    ).toBe(true);
  }
  for (const because of ['binary', 'not-json', 'too-large']) {
    expect(lines).toContain(`uninspectable ${because}`);
  }
});

function said(inspection: Inspection): string | string[] {
  return inspection.kind === 'uninspectable'
    ? `uninspectable ${inspection.because}`
    : inspection.fields.map(({ path, says }) => `${path} ${says}`).sort();
}

function followsFrom(inspection: Inspection): string {
  if (inspection.kind === 'uninspectable') return 'uninspectable';
  const says = new Set(inspection.fields.map(field => field.says));
  return says.has('foreign') ? 'foreign' : says.has('among') ? 'among' : 'clean';
}
