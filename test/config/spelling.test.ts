import { expect, test } from 'vitest';
import { nearest } from '../../src/config/spelling.ts';

const KEYS = ['maxSessions', 'maxHeaderBytes', 'drainMs', 'host'];

test('a typing mistake finds the word that was meant', () => {
  expect(nearest('hots', KEYS)).toBe('host');
  expect(nearest('maxSesions', KEYS)).toBe('maxSessions');
  expect(nearest('max_sessions', KEYS)).toBe('maxSessions');
  expect(nearest('drainMS', KEYS)).toBe('drainMs');
});

test('another word finds none', () => {
  expect(nearest('banana', KEYS)).toBeUndefined();
  expect(nearest('x'.repeat(100_000), KEYS)).toBeUndefined();
});
