// What synthetic users plant in what they send.
import { expect, test } from 'vitest';
import { markersFor } from '../../src/runs/markers.ts';

const tokenOf = (claims: object): string =>
  ['{}', JSON.stringify(claims), 'x']
    .map(part => Buffer.from(part).toString('base64url'))
    .join('.');
const tokens = ['ann', 'bob', 'carl'].map(sub => tokenOf({ sub }));

test('each user has a string of his own, that says who he is to nobody and that no other run has', () => {
  const [first, second] = [markersFor(tokens, 'sub'), markersFor(tokens, 'sub')];
  expect(first.map(marker => marker?.user)).toEqual(['ann', 'bob', 'carl']);
  const texts = [...first, ...second].map(marker => marker?.text ?? '');
  expect(new Set(texts).size).toBe(6);
  // 96 bits of a user's own, behind the run's; nothing in it is written otherwise in JSON, HTML or a target.
  for (const text of texts) expect(text).toMatch(/^cutovermarker[0-9a-f]{12}[0-9a-f]{24}$/);
  const own = texts.map(text => text.slice(-24));
  expect(new Set(own).size).toBe(6);
});

test('whoever is not named by his token has none, and numbers are names as the proxy reads them', () => {
  const odd = [tokenOf({}), tokenOf({ sub: '' }), tokenOf({ sub: 1.5 }), 'no token', ''];
  expect(markersFor(odd, 'sub')).toEqual([null, null, null, null, null]);
  const [numbered, named] = markersFor([tokenOf({ sub: 42 }), tokenOf({ uid: 'eve' })], 'sub');
  expect([numbered?.user, named]).toEqual(['42', null]);
  expect(markersFor([tokenOf({ uid: 'eve' })], 'uid')[0]?.user).toBe('eve');
});
