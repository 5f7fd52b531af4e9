// What is held of two answers to be compared, and what is found in what is not.
import { expect, test } from 'vitest';
import type { AnswerSample } from '../../src/ports.ts';
import type { Side } from '../../src/rules/decide.ts';
import { Markers } from '../../src/rules/isolation/marker.ts';
import { NOBODY } from '../../src/traffic/answer-sample.ts';
import { SamplePair, SampleRoom } from '../../src/traffic/sample-pair.ts';

test('a marker in a body that is too long to be held is found, however it is cut', () => {
  const markers = new Markers([
    { text: 'cutovermarker00aa', user: 'ann' },
    { text: 'cutovermarker00bb', user: 'bob' },
  ]);
  const told: Readonly<Record<Side, AnswerSample>>[] = [];
  const pair = new SamplePair({
    room: new SampleRoom(),
    search: () => markers.search(['bob']),
    each: () => false,
    both: samples => void told.push(samples),
    alone: () => undefined,
    over: () => undefined,
  });
  const answer = (side: Side, marker: string) => {
    const sink = pair.sampling(NOBODY, side);
    sink.head(200, 'OK', []);
    for (let n = 0; n < 20; n += 1) sink.data(Buffer.alloc(65_536, 'x'));
    const written = marker.replace('m', '\\u006d');
    for (const char of written) sink.data(Buffer.from(char));
    sink.data(Buffer.alloc(65_536, 'x'));
    sink.end([]);
  };
  answer('legacy', 'cutovermarker00bb');
  answer('candidate', 'cutovermarker00aa');
  expect(told).toMatchObject([
    { legacy: { body: null, marker: null }, candidate: { body: null, marker: 'ann' } },
  ]);
});
