// A stream of events through a silence that is longer than every time limit on its way.
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openedByTest } from '../support/opened.ts';
import { type Stack, stack, tokenFor } from '../support/stack.ts';
import { until } from '../support/until.ts';

const open = openedByTest();

/** All that can be set, at 2 s; an idle connection to a service is kept for 4 s, one of a client for 5 s. */
const LIMITS = `limits: { headersTimeoutMs: 2000, stallMs: 2000, closeMs: 2000, boundaryMs: 2000 }`;
const SILENCE_MS = 6_500;

interface Stream {
  readonly response: http.IncomingMessage;
  readonly text: () => string;
  ended: boolean;
}

async function stream(up: Stack, user: string): Promise<Stream> {
  const request = http.get(`${up.proxy.listen}/events`, {
    headers: { authorization: `Bearer ${await tokenFor(user)}`, accept: 'text/event-stream' },
    agent: false,
  });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let text = '';
  const found = { response, text: () => text, ended: false };
  response.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  response.on('close', () => {
    found.ended = true;
  });
  response.on('error', () => undefined);
  open.push({ close: () => request.destroy() });
  return found;
}

const post = (up: Stack, user: string, run: string) =>
  fetch(`${up.proxy.listen}/broadcast`, {
    method: 'POST',
    body: JSON.stringify({ user_id: user, event: { type: 'notice', run_id: run } }),
  });

// Side by side: it is silence that takes the time.
test.concurrent.each([
  ['legacy', 'shadow'],
  ['candidate', 'live'],
] as const)(
  'on %s: nothing for longer than any of them, then events, each at once',
  async (side, stage) => {
    const up = await stack({ stage: [stage], config: LIMITS, timeoutMs: 2_000 });
    open.push(up);
    const users = ['user_1001', 'user_1002'];
    const streams = await Promise.all(users.map(user => stream(up, user)));
    expect(streams.map(({ response }) => response.statusCode)).toEqual([200, 200]);
    expect(streams[0]?.response.headers['content-type']).toBe('text/event-stream');
    await until('both are welcomed', () =>
      streams.every(({ text }) => text().includes('connection_established')),
    );
    const welcomed = streams.map(({ text }) => text());
    await pause(SILENCE_MS);
    expect(streams.map(({ text }) => text())).toEqual(welcomed);
    expect(streams.map(({ ended }) => ended)).toEqual([false, false]);

    for (const run of ['first', 'second']) {
      for (const user of users) expect((await post(up, user, run)).status).toBe(200);
      // Each is there before the next one is sent: nothing is gathered on the way.
      await until(`${run} is there`, () =>
        streams.every(({ text }) => text().includes(`"${run}"`)),
      );
    }
    for (const { text } of streams) expect(text().split('"notice"')).toHaveLength(3);
    const stats = () => JSON.stringify(up.services[side].stats());
    expect(stats()).toContain('"connections":2');
    // Whoever leaves is let go by the service that served him.
    for (const { response } of streams) response.destroy();
    await until('the service has let go', () => stats().includes('"connections":0'));
  },
);
