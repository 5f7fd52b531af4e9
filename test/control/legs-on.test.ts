import { expect, test } from 'vitest';
import { legsOn } from '../../src/control/legs-on.ts';
import { route } from '../support/flags.ts';
import { FakeTraffic } from '../support/operator.ts';

const events = route('events');
const other = route('other');
const writes = (flags = {}) => ({ ...route('broadcast', flags), writes: 'both' as const });
const shared = { serve: 'events.serve' };

test('writes reach whoever is being served on a route that moves together with theirs', () => {
  const traffic = new FakeTraffic();
  const broadcast = writes(shared);
  const routes = [events, broadcast, other];
  expect(legsOn(broadcast, routes, traffic)).toEqual([]);
  traffic.open('events', 'candidate', 'u1');
  traffic.open('other', 'legacy', 'u2');
  expect(legsOn(broadcast, routes, traffic)).toEqual(['candidate']);
  expect(legsOn(writes(), routes, traffic)).toEqual([]);
});

test.each(['streamsOpen', 'secondLegsOpen'] as const)('%s count as well', counter => {
  const traffic = new FakeTraffic();
  const broadcast = writes(shared);
  traffic.of('events', 'candidate')[counter] = 1;
  expect(legsOn(broadcast, [events, broadcast], traffic)).toEqual(['candidate']);
});

test('what came in through the bypass is on legacy, and of any route', () => {
  const traffic = new FakeTraffic();
  const broadcast = writes();
  traffic.open('bypass', 'legacy', 'u1');
  expect(legsOn(broadcast, [broadcast], traffic)).toEqual(['legacy']);
});

test('a route whose writes go to one service is not asked about', () => {
  const traffic = new FakeTraffic();
  traffic.open('events', 'candidate', 'u1');
  expect(legsOn(events, [events], traffic)).toEqual([]);
});
