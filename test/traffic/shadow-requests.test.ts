// HTTP that the other service is shown too: compared, marked, and never waited for.

import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { answerOf, plainBody } from '../../src/judge/answer.ts';
import type { Decision, SecondLeg } from '../../src/rules/decide.ts';
import { Ear } from '../support/ear.ts';
import { decisionFor, type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function service(answer: Answer) {
  const got: http.IncomingMessage[] = [];
  let aborted = 0;
  const server = http.createServer((request, response) => {
    got.push(request);
    response.on('close', () => {
      if (!response.writableFinished) aborted += 1;
    });
    request.resume();
    answer(request, response);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return { got, aborted: () => aborted, port: (server.address() as AddressInfo).port };
}

const SHADOW: SecondLeg = { side: 'candidate', role: 'shadow' };
const says =
  (text: string): Answer =>
  (_request, response) =>
    response.setHeader('x-who', text).end(text);

/** An answer without an end. */
function pourInto(response: http.ServerResponse): void {
  const pour = () => {
    while (!response.destroyed && response.write(Buffer.alloc(1_048_576)));
  };
  response.on('drain', pour);
  pour();
}

async function both(
  answers: { legacy: Answer; candidate: Answer },
  { decision, ...options }: Partial<ProxyOptions> & { decision?: Partial<Decision> } = {},
) {
  const [legacy, candidate] = [await service(answers.legacy), await service(answers.candidate)];
  const ear = new Ear();
  const front = await proxy({
    legacy: legacy.port,
    candidate: candidate.port,
    routes: [
      { name: 'stream', path: '/events', protocol: 'sse' },
      { name: 'api', path: '/*', protocol: 'http', writes: 'both' },
    ],
    decider: () => ({
      decision: { ...decisionFor('legacy'), second: SHADOW, ...decision },
      revision: 'test',
    }),
    tap: ear,
    ...options,
  });
  open.push(front);
  const url = `http://127.0.0.1:${front.port}`;
  return { legacy, candidate, ear, front, url };
}

test('a safe request is answered by its own service, and both answers go to the judge', async () => {
  const { candidate, ear, url } = await both({
    legacy: says('legacy'),
    candidate: says('candidate'),
  });
  const answer = await fetch(`${url}/a?b=1`);
  expect(await answer.text()).toBe('legacy');
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample).toMatchObject({ route: 'api', method: 'GET', isWrite: false });
  expect(sample?.legacy).toMatchObject({ status: 200, end: 'complete', code: null });
  expect([sample?.legacy.body, sample?.candidate.body].map(String)).toEqual([
    'legacy',
    'candidate',
  ]);
  expect(candidate.got[0]?.url).toBe('/a?b=1');
  expect(candidate.got[0]?.headers['x-cutover-role']).toBe('shadow');
});

test('the judge hears what a request asks for, and what a write to both says; of one that goes to one service nothing', async () => {
  const answers = { legacy: says('legacy'), candidate: says('candidate') };
  const { ear, url } = await both(answers, { decision: { writeTo: 'both' } });
  await fetch(`${url}/threads/t1?of=ann`);
  await fetch(`${url}/cancel`, { method: 'POST', body: '{"run_id":"run1"}' });
  expect(ear.words).toEqual([
    'undefined /threads/t1?of=ann ',
    'undefined /cancel {"run_id":"run1"}',
  ]);
  const off = await both(answers, { decision: { second: null } });
  await fetch(`${off.url}/threads/t1`);
  expect(off.ear.words).toEqual([]);
});

test.each(['POST', 'PUT', 'DELETE'])('%s is not shown to the other service (52)', async method => {
  const { legacy, candidate, ear, url } = await both(
    { legacy: says('legacy'), candidate: says('candidate') },
    { routes: [{ name: 'api', path: '/*', protocol: 'http' }] },
  );
  await fetch(url, { method, body: 'x' });
  await fetch(url);
  await until('the safe one is compared', () => ear.exchanges.length === 1);
  expect(legacy.got).toHaveLength(2);
  expect(candidate.got.map(request => request.method)).toEqual(['GET']);
});

test('a write that goes to both is compared as a pair of answers, without a mark', async () => {
  const { candidate, ear, url } = await both(
    { legacy: says('legacy'), candidate: says('candidate') },
    { decision: { second: null, writeTo: 'both' } },
  );
  await fetch(url, { method: 'POST', body: 'x' });
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample).toMatchObject({ method: 'POST', isWrite: true });
  expect(candidate.got[0]?.headers['x-cutover-role']).toBeUndefined();
});

test('a shadow that hangs keeps nobody waiting, and one that fails is told (51)', async () => {
  const { candidate, ear, front, url } = await both({
    legacy: says('legacy'),
    candidate: (request, response) => {
      if (request.url === '/fails') response.destroy();
    },
  });
  for (let i = 0; i < 20; i += 1) expect(await (await fetch(url)).text()).toBe('legacy');
  await until('all were shown', () => candidate.got.length === 20);
  expect(await (await fetch(`${url}/fails`)).text()).toBe('legacy');
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample?.candidate).toMatchObject({ status: 0, end: 'failed', code: 'upstream-closed' });
  expect(front.reports.some(r => r.kind === 'second-ended' && r.what === 'failed')).toBe(true);
});

test.each([
  ['never ends', 'slow', 300, 'cut', (response: http.ServerResponse) => response.write('x')],
  ['floods', 'flooding', 20_000, 'left', pourInto],
] as const)(
  'a shadow whose body %s gives its place back, and its connection',
  async (_name, why, responseTimeoutMs, end, body) => {
    const { candidate, ear, front, url } = await both(
      {
        legacy: says('legacy'),
        candidate: (_request, response) => {
          response.writeHead(200);
          body(response);
        },
      },
      { upstream: { responseTimeoutMs } },
    );
    for (let i = 0; i < 3; i += 1) expect(await (await fetch(url)).text()).toBe('legacy');
    await until('all are given up', () => ear.exchanges.length === 3);
    await until('and closed', () => candidate.aborted() === 3);
    expect(ear.exchanges.map(sample => sample.candidate.end)).toEqual([end, end, end]);
    const ends = front.reports.filter(r => r.kind === 'second-ended').map(r => r.what);
    expect(new Set(ends)).toEqual(new Set([why]));
  },
);

test.each([
  ['a shadow', { second: SHADOW }, 'GET'],
  ['the second service of a write', { second: null, writeTo: 'both' as const }, 'POST'],
])(
  'an answer of %s that goes on for longer than it has for its next word is whole',
  async (_who, decision, method) => {
    const { ear, front, url } = await both(
      {
        legacy: says('0123456789'),
        candidate: (_request, response) => {
          let said = 0;
          const ticker = setInterval(() => {
            response.write(String(said));
            said += 1;
            if (said === 10) response.end();
            if (said === 10) clearInterval(ticker);
          }, 100);
        },
      },
      { decision, upstream: { responseTimeoutMs: 800 } },
    );
    expect(await (await fetch(url, { method })).text()).toBe('0123456789');
    const sample = await until('it is compared', () => ear.exchanges[0]);
    expect(sample.candidate.end).toBe('complete');
    expect(String(sample.candidate.body)).toBe('0123456789');
    expect(front.traffic.heldBytes.answers).toBe(0);
  },
);

test.each([
  ['a shadow', { second: SHADOW }, 'GET'],
  ['the second service of a write', { second: null, writeTo: 'both' as const }, 'POST'],
])(
  'an answer of %s without an end is left in the middle, which is no difference',
  async (_who, decision, method) => {
    const { candidate, ear, front, url } = await both(
      {
        legacy: says('legacy'),
        candidate: (_request, response) => {
          const ticker = setInterval(() => response.write('x'), 10);
          response.once('close', () => clearInterval(ticker));
        },
      },
      { decision, upstream: { responseTimeoutMs: 400 } },
    );
    expect(await (await fetch(url, { method })).text()).toBe('legacy');
    const sample = await until('it is compared', () => ear.exchanges[0]);
    expect(sample.candidate).toMatchObject({ status: 200, body: null, end: 'left' });
    await until('it is closed', () => candidate.aborted() === 1);
    expect(front.traffic.heldBytes.answers).toBe(0);
  },
);

test('a shadow that breaks off is cut, not complete, and the client has it all (47)', async () => {
  const { ear, url } = await both({
    legacy: says('legacy'),
    candidate: (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('half');
      setImmediate(() => response.destroy());
    },
  });
  expect(await (await fetch(url)).text()).toBe('legacy');
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample?.candidate).toMatchObject({ status: 200, end: 'cut' });
});

test('what is too long to be held is delivered and not held', async () => {
  const long: Answer = (_request, response) => response.end(Buffer.alloc(3_000_000, 'x'));
  const { ear, url } = await both({ legacy: long, candidate: says('short') });
  expect((await (await fetch(url)).text()).length).toBe(3_000_000);
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample?.legacy.body).toBeNull();
  expect(String(sample?.candidate.body)).toBe('short');
});

test('compressed bodies are handed over as they came, with their fields (76)', async () => {
  const zipped: Answer = (_request, response) =>
    response.setHeader('content-encoding', 'gzip').end(gzipSync('text'));
  const { ear, url } = await both({ legacy: says('text'), candidate: zipped });
  await fetch(url);
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample?.candidate.headers).toContain('gzip');
});

test('with nobody to show it to, a request counts as unpaired', async () => {
  const { ear, url } = await both(
    { legacy: says('legacy'), candidate: says('candidate') },
    { identity: { sources: [{ from: 'query', names: ['ticket'], singleUse: true }] } },
  );
  await (await fetch(`${url}/?ticket=abc`)).text();
  await until('it is counted', () => ear.unpairedOnes.length === 1);
  expect(ear.exchanges).toHaveLength(0);
});

test('both streams of events go to the judge, and the shadow ends with its client', async () => {
  const streams: Answer = (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`data: from ${request.headers['x-cutover-role'] ?? 'the primary'}\n\n`);
  };
  const { candidate, ear, url } = await both({ legacy: streams, candidate: streams });
  const aborter = new AbortController();
  const answer = await fetch(`${url}/events`, { signal: aborter.signal });
  const reader = answer.body?.getReader();
  expect(Buffer.from((await reader?.read())?.value ?? '').toString()).toBe(
    'data: from the primary\n\n',
  );
  const stream = await until('the judge hears of it', () => ear.streams[0]);
  await until('both are copied', () => stream.bytesOf.candidate.length > 0);
  expect(Buffer.concat(stream.bytesOf.legacy).toString()).toBe('data: from the primary\n\n');
  expect(Buffer.concat(stream.bytesOf.candidate).toString()).toBe('data: from shadow\n\n');
  expect(stream.facts.format).toBe('sse');
  aborter.abort();
  await until('the shadow has ended', () => candidate.aborted() === 1);
  await until('the judge is told', () => stream.notes.includes('end'));
});

// The fault: what the other service was late with when a stream ended was not heard, and nothing was known of it.
describe('a second stream is heard until nothing waits for it any more', () => {
  /** Both services' streams, as one client has them, and what is still said there. */
  async function streaming() {
    const responses: Partial<Record<'legacy' | 'candidate', http.ServerResponse>> = {};
    const beginning =
      (side: 'legacy' | 'candidate'): Answer =>
      (_request, response) => {
        responses[side] = response;
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: one\n\n');
      };
    const parts = await both({ legacy: beginning('legacy'), candidate: beginning('candidate') });
    const aborter = new AbortController();
    const answer = await fetch(`${parts.url}/events`, { signal: aborter.signal });
    const stream = await until('the judge hears of it', () => parts.ear.streams[0]);
    await until('both are copied', () => stream.bytesOf.candidate.length > 0);
    stream.waits = true;
    const { legacy, candidate } = responses;
    if (legacy === undefined || candidate === undefined) throw new Error('nobody was asked');
    const heard = () => Buffer.concat(stream.bytesOf.candidate).toString();
    return { ...parts, aborter, answer, stream, responses: { legacy, candidate }, heard };
  }

  test.each(['its own service has ended it', 'its client has left'])('once %s', async how => {
    const { aborter, answer, stream, responses, candidate, heard, front } = await streaming();
    if (how === 'its client has left') aborter.abort();
    else {
      responses.legacy.end('data: two\n\n');
      expect(await answer.text()).toBe('data: one\n\ndata: two\n\n');
    }
    await until('the judge is told', () =>
      stream.notes.some(note => note === 'left legacy' || note === 'close legacy'),
    );
    responses.candidate.write('data: two\n\n');
    await until('it is heard', () => heard() === 'data: one\n\ndata: two\n\n');
    expect(stream.notes).not.toContain('end');
    expect(secondLegsOf(front)).toBe(1);
    stream.settled();
    await until('the candidate is let go', () => candidate.aborted() === 1);
    expect(stream.notes).toContain('end');
    expect(secondLegsOf(front)).toBe(0);
  });

  test('... or has come to its own end, of which the judge is told', async () => {
    const { aborter, stream, responses, candidate } = await streaming();
    aborter.abort();
    await until('the judge is told', () => stream.notes.includes('left legacy'));
    responses.candidate.end('data: two\n\n');
    await until('it is over', () => stream.notes.includes('end'));
    expect(stream.notes.slice(-2)).toEqual(['close candidate', 'end']);
    expect(candidate.aborted()).toBe(0);
  });

  test('... but not where the candidate is severed', async () => {
    const { aborter, stream, candidate, front } = await streaming();
    aborter.abort();
    await until('the judge is told', () => stream.notes.includes('left legacy'));
    front.traffic.rollBack(new Set(['stream']), { sever: true });
    await until('the candidate is let go', () => candidate.aborted() === 1);
    expect(stream.notes).toContain('end');
  });
});

const streamsOf = ({ traffic }: TestProxy): number =>
  [...traffic.counters()].reduce((sum, { counters }) => sum + counters.streamsOpen, 0);
const secondLegsOf = ({ traffic }: TestProxy): number =>
  [...traffic.counters()].reduce((sum, { counters }) => sum + counters.secondLegsOpen, 0);

// The fault: it was shown the stream for as long as its client stayed, and took writes for that.
test('a stream that is not to be compared any more is shown to nobody else, and goes on', async () => {
  let second: SecondLeg | null = SHADOW;
  const streams: Answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const timer = setInterval(() => response.write('data: on\n\n'), 10);
    response.on('close', () => clearInterval(timer));
  };
  const { candidate, legacy, ear, front, url } = await both(
    { legacy: streams, candidate: streams },
    { decider: () => ({ decision: { ...decisionFor('legacy'), second }, revision: 'test' }) },
  );
  const aborter = new AbortController();
  const answer = await fetch(`${url}/events`, { signal: aborter.signal });
  const reader = answer.body?.getReader();
  await reader?.read();
  const stream = await until('the judge hears of it', () => ear.streams[0]);
  await until('both are copied', () => stream.bytesOf.candidate.length > 0);
  const legs = () => secondLegsOf(front);
  await front.traffic.reconsider();
  expect([candidate.aborted(), legs()]).toEqual([0, 1]);
  second = null;
  await front.traffic.reconsider();
  await until('the shadow has ended', () => candidate.aborted() === 1);
  await until('the judge is told', () => stream.notes.includes('left candidate'));
  expect(legs()).toBe(0);
  expect(front.reports).toContainEqual(
    expect.objectContaining({ kind: 'second-ended', what: 'unwanted' }),
  );
  await reader?.read();
  expect(legacy.aborted()).toBe(0);
  aborter.abort();
  await until('it has ended', () => legacy.aborted() === 1);
  expect(legs()).toBe(0);
});

// The fault: its room was given back twice, and more was held from then on.
test('a plain answer in place of a stream that is severed gives its room back once', async () => {
  const { front, url } = await both({
    legacy: says('whole'),
    candidate: (_request, response) => void response.writeHead(200).write('begun'),
  });
  expect(await (await fetch(`${url}/events`)).text()).toBe('whole');
  await until('both are held', () => front.traffic.heldBytes.answers === 10);
  front.traffic.rollBack(new Set(['stream']), { sever: true });
  expect(front.traffic.heldBytes.answers).toBe(0);
});

test('a shadow stream that ends by itself is counted no longer than it lasts', async () => {
  const streams =
    (ends: boolean): Answer =>
    (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: one\n\n');
      if (ends) response.end();
    };
  const services = { legacy: streams(false), candidate: streams(true) };
  const { ear, front, url } = await both(services);
  const aborter = new AbortController();
  await fetch(`${url}/events`, { signal: aborter.signal });
  const stream = await until('the judge hears of it', () => ear.streams[0]);
  await until('it has ended', () => stream.notes.includes('close candidate'));
  expect(secondLegsOf(front)).toBe(0);
  aborter.abort();
});

// The fault: only plain answers had a bound, and a stream of events that floods was read for as long as its client stayed.
test('a shadow stream that floods is broken off, and the client’s own goes on', async () => {
  const { candidate, ear, front, url } = await both({
    legacy: (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const ticker = setInterval(() => response.write('data: one\n\n'), 20);
      response.on('close', () => clearInterval(ticker));
    },
    candidate: (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      pourInto(response);
    },
  });
  const aborter = new AbortController();
  const answer = await fetch(`${url}/events`, { signal: aborter.signal });
  const stream = await until('the judge hears of it', () => ear.streams[0]);
  await until('it is broken off', () => candidate.aborted() === 1);
  expect(stream.notes).toContain('left candidate');
  const ends = front.reports.filter(r => r.kind === 'second-ended').map(r => r.what);
  expect([ends, secondLegsOf(front), streamsOf(front)]).toEqual([['flooding'], 0, 1]);
  const heard = stream.bytesOf.legacy.length;
  const reader = answer.body?.getReader();
  await until('the client has all that legacy says', async () => {
    await reader?.read();
    return stream.bytesOf.legacy.length > heard;
  });
  aborter.abort();
});

test('a stream that is compressed all the same is not read as events, and counts as not compared', async () => {
  const zipped: Answer = (_request, response) =>
    response
      .writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' })
      .end(gzipSync('data: x\n\n'));
  const { ear, url } = await both({ legacy: zipped, candidate: zipped });
  expect(await (await fetch(`${url}/events`)).text()).toBe('data: x\n\n');
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample.legacy).toMatchObject({ status: 200, body: null, end: 'left' });
  expect(answerOf(sample.legacy, plainBody(sample.legacy, 'GET'))).toMatchObject({
    ...{ body: undefined, unread: 'not-comparable' },
  });
  expect(ear.streams[0]?.notes).not.toContain('open legacy');
});

// The fault: where streams are due, of any other answer no more than its head was compared, as if it had ended there.
describe('an answer that is no stream of events, where streams are due,', () => {
  const json =
    (text: string, status = 200): Answer =>
    (_request, response) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(text);
  const streams: Answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n');
  };
  const events = async ({ url }: { url: string }) => (await fetch(`${url}/events`)).text();

  test('is compared whole, though its client has left', async () => {
    const due: (() => void)[] = [];
    const at = await both({
      legacy: json('{"a":1}', 404),
      candidate: (request, response) =>
        void due.push(() => json('{"a":2}', 404)(request, response)),
    });
    expect(await events(at)).toBe('{"a":1}');
    await until('the other service is asked', () => due.length === 1);
    await until('the client is done with', () => streamsOf(at.front) === 0);
    due[0]?.();
    const { legacy, candidate } = await until('it is compared', () => at.ear.exchanges[0]);
    expect([legacy.body, candidate.body].map(String)).toEqual(['{"a":1}', '{"a":2}']);
    expect([legacy.end, candidate.end]).toEqual(['complete', 'complete']);
    await until('the judge is told', () => at.ear.streams[0]?.notes.includes('end'));
    expect(at.ear.streams[0]?.notes.filter(note => note.startsWith('open'))).toEqual([]);
    expect([secondLegsOf(at.front), at.front.traffic.heldBytes.answers]).toEqual([0, 0]);
  });

  const breaks: Answer = (_request, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('half');
    setImmediate(() => response.destroy());
  };
  test.each([
    ['the shadow', { legacy: json('whole'), candidate: breaks }, ['complete', 'cut']],
    ['its own service', { legacy: breaks, candidate: json('whole') }, ['cut', 'complete']],
  ])('is cut, where %s breaks off', async (_who, answers, ends) => {
    const at = await both(answers);
    await events(at).catch(() => 'broken off');
    const { legacy, candidate } = await until('it is compared', () => at.ear.exchanges[0]);
    expect([legacy.end, candidate.end]).toEqual(ends);
  });

  test.each<[string, string, number, (response: http.ServerResponse) => unknown]>([
    ['never ends', 'cut', 300, response => response.write('x')],
    ['floods', 'left', 20_000, pourInto],
  ])('is given up, where the shadow’s %s', async (_name, end, responseTimeoutMs, body) => {
    const endless: Answer = (_request, response) => body(response.writeHead(200));
    const upstream = { responseTimeoutMs };
    const at = await both({ legacy: json('{}'), candidate: endless }, { upstream });
    for (let i = 0; i < 3; i += 1) expect(await events(at)).toBe('{}');
    await until('all are given up', () => at.ear.exchanges.length === 3);
    await until('and closed', () => at.candidate.aborted() === 3);
    expect(at.ear.exchanges.map(({ candidate }) => candidate.end)).toEqual([end, end, end]);
    expect([secondLegsOf(at.front), at.front.traffic.heldBytes.answers]).toEqual([0, 0]);
  });

  test('is delivered at any length, and held up to a bound', async () => {
    const long: Answer = (_request, response) => response.end(Buffer.alloc(3_000_000, 'x'));
    const at = await both({ legacy: long, candidate: json('{}') });
    expect((await events(at)).length).toBe(3_000_000);
    const sample = await until('it is compared', () => at.ear.exchanges[0]);
    expect([sample.legacy.body, String(sample.candidate.body)]).toEqual([null, '{}']);
    expect(at.front.traffic.heldBytes.answers).toBe(0);
  });

  test('is let go with a client that leaves in the middle of it', async () => {
    const begun: Answer = (_request, response) => void response.writeHead(200).write('begun');
    const at = await both({ legacy: begun, candidate: json('{}') });
    const aborter = new AbortController();
    await fetch(`${at.url}/events`, { signal: aborter.signal });
    await until('both are held', () => at.front.traffic.heldBytes.answers === 7);
    aborter.abort();
    await until('it is counted', () => at.ear.unpairedOnes.length === 1);
    expect([at.ear.unpairedOnes, at.ear.exchanges]).toEqual([['stream candidate'], []]);
    expect([secondLegsOf(at.front), at.front.traffic.heldBytes.answers]).toEqual([0, 0]);
  });

  test('is held against the head of a stream, which ends with it', async () => {
    const due: (() => void)[] = [];
    const at = await both({
      legacy: json('{"a":1}'),
      candidate: (request, response) => void due.push(() => streams(request, response)),
    });
    expect(await events(at)).toBe('{"a":1}');
    await until('the other service is asked', () => due.length === 1);
    await until('the client is done with', () => streamsOf(at.front) === 0);
    due[0]?.();
    const { legacy, candidate } = await until('it is compared', () => at.ear.exchanges[0]);
    expect([String(legacy.body), candidate.headers.includes('text/event-stream')]).toEqual([
      ...['{"a":1}', true],
    ]);
    await until('the shadow has ended', () => at.candidate.aborted() === 1);
    await until('the judge is told', () => at.ear.streams[0]?.notes.includes('end'));
    expect(secondLegsOf(at.front)).toBe(0);
  });
});

test('a standby of legacy’s says what it would have sent, whatever its user has of the candidate’s already', async () => {
  const asked = { legacy: says('legacy'), candidate: says('candidate') };
  const named: Partial<ProxyOptions> = {
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
    listen: { trustedProxies: ['127.0.0.1'] },
  };
  const headers = { 'x-user': 'ann', 'if-none-match': '"a1"', 'if-modified-since': 'x' };
  const kept = async (second: SecondLeg) => {
    const primary = second.side === 'legacy' ? 'candidate' : 'legacy';
    const { url, ...services } = await both(asked, { decision: { primary, second }, ...named });
    await (await fetch(url, { headers })).text();
    const [first, other] = [services[primary], services[second.side]];
    await until('both are asked', () => first.got.length + other.got.length === 2);
    return [first, other].map(({ got }) => got[0]?.headers['if-none-match']);
  };
  expect(await kept({ side: 'legacy', role: 'standby' })).toEqual(['"a1"', undefined]);
  expect(await kept(SHADOW)).toEqual(['"a1"', '"a1"']);
});

test.each([
  ['all', {}, false],
  ['what has changed', { 'If-None-Match': '"a1"' }, true],
  ['what is newer', { 'if-modified-since': 'Sat, 28 Nov 2026 00:00:00 GMT' }, true],
  ['a part', { range: 'bytes=0-1' }, true],
] as const)('the judge is told that a client asks for %s', async (_what, headers, less) => {
  const { ear, url } = await both({ legacy: says('legacy'), candidate: says('candidate') });
  await (await fetch(url, { headers })).text();
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample.asksForLess).toBe(less);
});

test('a standby is asked however often it has failed, a shadow that fails is left alone for a while', async () => {
  const fails: Answer = (_request, response) => void response.destroy();
  const asked = { legacy: says('legacy'), candidate: says('candidate') };
  const standby = await both(
    { ...asked, legacy: fails },
    { decision: { primary: 'candidate', second: { side: 'legacy', role: 'standby' } } },
  );
  const shadow = await both({ ...asked, candidate: fails });
  const ends = ({ front }: typeof shadow) =>
    front.reports.filter(r => r.kind === 'second-ended').map(r => r.what);
  for (const { url, ...rest } of [standby, shadow]) {
    for (let i = 1; i <= 8; i += 1) {
      await (await fetch(url)).text();
      await until('the second one has failed', () => ends({ url, ...rest }).length === i);
    }
  }
  expect(ends(standby)).toEqual(Array(8).fill('failed'));
  expect(ends(shadow).slice(-3)).toEqual(Array(3).fill('broken'));
});

test('a shadow that was left alone is asked again by itself, and by everybody once it answers', async () => {
  let isWell = false;
  const candidate: Answer = (request, response) =>
    isWell ? says('candidate')(request, response) : void response.destroy();
  const { url, front } = await both({ legacy: says('legacy'), candidate });
  const ends = () => front.reports.filter(r => r.kind === 'second-ended').map(r => r.what);
  let asked = 0;
  const ask = async () => {
    await (await fetch(url)).text();
    asked += 1;
    await until('the second one is over', () => ends().length === asked);
    return ends().at(-1);
  };
  for (let failures = 0; failures < 5; failures += 1) expect(await ask()).toBe('failed');
  expect(await ask()).toBe('broken');
  isWell = true;
  await until('it is asked again', async () => (await ask()) !== 'broken');
  const tries = ends();
  expect(new Set(tries.slice(5, -1))).toEqual(new Set(['broken']));
  const again = tries.at(-1);
  for (let more = 0; more < 3; more += 1) expect(await ask()).toBe(again);
});

/** Catches a hang: 1,000 requests at a time, on a machine that may be busy. */
const LIMIT_MS = 120_000;

test(
  'requests to a shadow that hangs take 500 places, and neither a stream nor a standby goes without one',
  async () => {
    const hangs: Answer = () => undefined;
    const streams: Answer = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: x\n\n');
    };
    const standby: SecondLeg = { side: 'legacy', role: 'standby' };
    let decision: Partial<Decision> = {};
    const { legacy, candidate, front, url } = await both(
      {
        legacy: (request, response) => {
          if (request.headers['x-cutover-role'] === undefined) says('legacy')(request, response);
        },
        candidate: (request, response) => {
          if (request.url === '/events') streams(request, response);
          else if (request.headers['x-cutover-role'] === undefined)
            says('candidate')(request, response);
          else hangs(request, response);
        },
      },
      {
        decider: () => ({
          decision: { ...decisionFor('legacy'), second: SHADOW, ...decision },
          revision: 'test',
        }),
      },
    );
    const marked = (at: typeof legacy) =>
      at.got.filter(({ headers }) => headers['x-cutover-role'] !== undefined).length;
    const ask = (path = '') => fetch(`${url}${path}`).then(answer => answer.text());
    const many = async (requests: number) => {
      for (let i = 0; i < requests; i += 50)
        await Promise.all(Array.from({ length: 50 }, () => ask()));
    };
    await many(500);
    await until('the shadow has all of them', () => marked(candidate) === 500);
    await ask();
    await until('one too many is counted', () => front.reports.some(r => r.what === 'busy'));
    const stream = await fetch(`${url}/events`);
    open.push({ close: () => stream.body?.cancel() });
    await until('the shadow has the stream', () => marked(candidate) === 501);
    decision = { primary: 'candidate', second: standby };
    await many(550);
    await until('the standby has all of them', () => marked(legacy) === 550);
  },
  LIMIT_MS,
);

test(
  'answers that wait to be compared take 64 MiB at most; what has no room is delivered, and told as overload',
  async () => {
    const waiting: http.ServerResponse[] = [];
    const long = 'x'.repeat(1_000_000);
    const { ear, front, url } = await both(
      {
        legacy: (_request, response) => void response.end(long),
        candidate: (_request, response) => void waiting.push(response),
      },
      { upstream: { responseTimeoutMs: LIMIT_MS } },
    );
    for (let i = 0; i < 70; i += 1)
      expect((await (await fetch(url)).text()).length).toBe(1_000_000);
    await until('all were shown', () => waiting.length === 70);
    for (const response of waiting) response.end();
    await until('all are told', () => ear.exchanges.length === 70);
    const without = ear.exchanges.filter(({ legacy }) => legacy.body === 'overload');
    expect(without).toHaveLength(3);
    await until('their room is free', () => front.traffic.heldBytes.answers === 0);
  },
  LIMIT_MS,
);

test('an answer whose client leaves before its end is not compared; the other one counts as unpaired', async () => {
  const { candidate, ear, front, url } = await both({
    legacy: (_request, response) => void response.write('begun'),
    candidate: says('candidate'),
  });
  const aborter = new AbortController();
  const answer = await fetch(url, { signal: aborter.signal });
  await until('the shadow has answered', () => candidate.got.length === 1);
  await until('both are held', () => front.traffic.heldBytes.answers === 14);
  aborter.abort();
  await expect(answer.text()).rejects.toThrow();
  await until('it is counted', () => ear.unpairedOnes.length === 1);
  expect([ear.unpairedOnes, ear.exchanges]).toEqual([['api candidate'], []]);
  expect(front.traffic.heldBytes.answers).toBe(0);
});

// What was held of the client's answer stayed held, and the request was in no book.
test('severed while shadows are under way, their answers are let go and each request counts as unpaired', async () => {
  const { candidate, ear, front, url } = await both({
    legacy: says('legacy'),
    candidate: (_request, response) => void response.write('begun'),
  });
  for (let i = 0; i < 3; i += 1) await (await fetch(url)).text();
  await until('all were shown', () => candidate.got.length === 3);
  await until('both are held', () => front.traffic.heldBytes.answers === 3 * 11);
  front.traffic.rollBack(new Set(['api']), { sever: true });
  await until('they are broken off', () => candidate.aborted() === 3);
  expect(front.traffic.heldBytes.answers).toBe(0);
  expect([ear.unpairedOnes, ear.exchanges]).toEqual([Array(3).fill('api legacy'), []]);
});

test('the second answer to a write that has no end is compared as one that was cut', async () => {
  const { ear, front, url } = await both(
    { legacy: says('legacy'), candidate: (_request, response) => void response.write('begun') },
    { decision: { second: null, writeTo: 'both' }, upstream: { responseTimeoutMs: 300 } },
  );
  await (await fetch(url, { method: 'POST', body: 'x' })).text();
  const sample = await until('it is compared', () => ear.exchanges[0]);
  expect(sample.candidate).toMatchObject({ status: 200, end: 'cut', code: 'upstream-timeout' });
  expect(front.traffic.heldBytes.answers).toBe(0);
});
