// Clients name their requests, and two users may give the same name. The fault: the judge knew an answer by that
// alone, so of two users' answers one was looked into as the other's: a leak where there was none, or none where
// there was one.
import { gzipSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { ContaminationWatch, HOLD_MS } from '../../src/judge/contamination-watch.ts';
import { Docket, WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { SECRET_BYTES } from '../../src/rules/isolation/secret-hash.ts';
import { asked, closeAll, closing, connected, get } from '../support/lane.ts';
import { decisionFor, proxy } from '../support/proxy.ts';
import { type RawServer, rawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

/** A judge on a clock of its own, and what it tells. */
function judge() {
  let now = 1_000_000;
  let answers = 0;
  const told: string[] = [];
  const findings: string[] = [];
  const watch = new ContaminationWatch({
    secret: new Uint8Array(SECRET_BYTES).fill(7),
    markers: [],
    windowMs: WINDOW_MS,
    now: () => now,
    onContamination: ({ user, owner }) => told.push(`${owner}'s at ${user}`),
    onHeld: () => undefined,
  });
  const docket = new Docket({
    rules: { api: { compare: DEFAULT_RULES, noise: null, isolation: DEFAULT_ISOLATION } },
    watch,
    onFinding: ({ session, verdict }) => findings.push(`${session} ${verdict}`),
    onFailure: error => expect.fail(String(error)),
  });
  const tap: BatchTap = new BatchTap({
    now: () => now,
    writes: new UnansweredWrites(WINDOW_MS),
    send: batch => {
      answers += batch.notes.filter(({ kind }) => kind === 'answered').length;
      tap.returned(batch.bytes, batch.exchangeBytes, docket.take(batch));
    },
  });
  return {
    ...{ tap, told, findings },
    looked: (count: number) => until(`${count} are looked into`, () => answers === count),
    /** Until what one service alone has sent is told. */
    wait: () => {
      now += HOLD_MS + 1;
      watch.settle();
    },
  };
}

async function place() {
  const { tap, ...judged } = judge();
  const [legacy, candidate] = [closing(await rawServer()), closing(await rawServer())];
  const front = closing(
    await proxy({
      ...{ legacy: legacy.port, candidate: candidate.port, tap },
      identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
      listen: { trustedProxies: ['127.0.0.1'] },
      decider: () => ({
        decision: {
          ...decisionFor('candidate'),
          second: { side: 'legacy', role: 'standby' },
        },
        revision: 'test',
      }),
    }),
  );
  const ask = async (user: string) => {
    const client = await connected(front);
    client.write(get('/api/me', `X-User: ${user}\r\nX-Request-Id: gateway-1\r\n`));
    return client;
  };
  return { ...judged, legacy, candidate, ask };
}

const OF = (user: string) => {
  // Coded, it is looked into whatever is in it.
  const body = gzipSync(JSON.stringify({ data: { target_user_id: user } })).toString('latin1');
  const fields = 'Content-Type: application/json\r\nContent-Encoding: gzip\r\n';
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;
};

async function answers(service: RawServer, ...users: string[]): Promise<void> {
  for (const user of users) {
    const upstream = await asked(service);
    expect(upstream.text).toContain('X-Request-Id: gateway-1\r\n');
    upstream.write(OF(user));
  }
}

test.each([
  ['his own is none of anybody else', 'bob', []],
  ['another user’s is told', 'ann', ["ann's at bob"]],
])('behind a request of the same name: %s', async (_what, sent, expected) => {
  const { told, looked, wait, candidate, ask } = await place();
  await ask('ann');
  await answers(candidate, 'ann');
  await looked(1);
  await ask('bob');
  await answers(candidate, sent);
  await looked(2);
  wait();
  expect(told).toEqual(expected);
});

test('... and each is a finding of its own, by a name that the log has', async () => {
  const { findings, legacy, candidate, ask } = await place();
  for (const user of ['ann', 'bob']) {
    await ask(user);
    await answers(candidate, user);
    await answers(legacy, user);
  }
  await until('both are compared', () => findings.length === 2);
  expect(findings.toSorted()).toEqual(['gateway-1#1 match', 'gateway-1#2 match']);
});
