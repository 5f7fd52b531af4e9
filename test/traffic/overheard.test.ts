// Users of whom nothing is compared, where others are: what legacy sends them is heard, and goes where it goes.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { Decision, SecondLeg } from '../../src/rules/decide.ts';
import { Ear } from '../support/ear.ts';
import { openedByTest } from '../support/opened.ts';
import { decisionFor, type ProxyOptions, proxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

const open = openedByTest();
const SHADOW: SecondLeg = { side: 'candidate', role: 'shadow' };
const OVERHEARD = { overhear: true } as const;

/** One that greets whoever comes, repeats what it is told, and answers requests with its name. */
async function service(name: string) {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    request.resume();
    if (request.url !== '/events') return void response.end(name);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`data: ${name}\n\n`);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', socket => {
    asked.push('WebSocket');
    socket.send(`hello from ${name}`);
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
    },
  });
  return { asked, port: (server.address() as AddressInfo).port };
}

async function withEar(options: Partial<ProxyOptions> = {}) {
  const [legacy, candidate] = [await service('legacy'), await service('candidate')];
  const ear = new Ear();
  const state = { decision: { ...decisionFor('legacy'), ...OVERHEARD } as Decision };
  const front = await proxy({
    ...{ legacy: legacy.port, candidate: candidate.port, tap: ear },
    listen: { trustedProxies: ['127.0.0.1'] },
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
    routes: [
      { name: 'sockets', path: '/ws', protocol: 'websocket', mirror: 'all' },
      { name: 'stream', path: '/events', protocol: 'sse' },
      { name: 'api', path: '/*', protocol: 'http' },
    ],
    decider: () => ({ decision: state.decision, revision: 'test' }),
    ...options,
  });
  open.push(front);
  const headers = { 'x-user': 'ann' };
  const enter = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, { headers });
    const read: string[] = [];
    socket.on('message', data => void read.push(String(data)));
    open.push({ close: () => socket.terminate() });
    await until('he is greeted', () => read.length === 1);
    return { socket, read };
  };
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`http://127.0.0.1:${front.port}${path}`, { headers, ...init });
  return { legacy, candidate, ear, front, state, enter, ask };
}

test('a session that is not compared is heard from its first byte, with what its client says', async () => {
  const { candidate, ear, enter } = await withEar();
  const { socket, read } = await enter();
  socket.send('my thread');
  socket.send(Buffer.from([1, 2, 3]));
  await until('all is back', () => read.length === 3);
  const [heard] = ear.overheard;
  expect(heard?.facts).toMatchObject({ route: 'sockets', subject: { id: 'ann' } });
  expect(heard?.messages('legacy')).toEqual(read);
  // What of it can not be read is told as such.
  expect(heard?.notes).toEqual(['open legacy', 'said my thread', 'said null']);
  expect([ear.streams, candidate.asked]).toEqual([[], []]);
  socket.close();
  await until('it is over', () => heard?.notes.at(-1) === 'end');
});

// What only the primary has heard keeps a session from being moved as planned: hearing it is no mirroring.
test('that it is heard changes nothing of what its client has said alone', async () => {
  const { front, state, enter } = await withEar();
  const [silent, speaking] = [await enter(), await enter()];
  speaking.socket.send('one');
  await until('it is back', () => speaking.read.length === 2);
  state.decision = { ...decisionFor('legacy'), second: SHADOW };
  await front.traffic.reconsider();
  await until('both have a second leg', () => {
    const counters = [...front.traffic.counters()].find(each => each.side === 'candidate');
    return counters?.counters.secondLegsOpen === 2;
  });
  state.decision = { ...decisionFor('candidate'), second: { side: 'legacy', role: 'standby' } };
  await front.traffic.reconsider();
  await until('the silent one is moved', () => front.reports.some(({ kind }) => kind === 'moved'));
  speaking.socket.send('two');
  await until('the other one is answered where he was', () => speaking.read.includes('two'));
  const sides = [...front.traffic.sessionsOf('sockets')].map(({ side }) => side);
  expect(sides.sort()).toEqual(['candidate', 'legacy']);
  expect(speaking.read).toEqual(['hello from legacy', 'one', 'two']);
  expect(silent.read[0]).toBe('hello from legacy');
});

test('it is heard so until it is compared, or until nobody is', async () => {
  const { ear, front, state, enter } = await withEar();
  const [one, other] = [await enter(), await enter()];
  state.decision = { ...decisionFor('legacy'), second: SHADOW };
  await front.traffic.reconsider();
  expect(ear.overheard.map(({ notes }) => notes.at(-1))).toEqual(['end', 'end']);
  const [stream] = ear.streams;
  await until(
    'the other service is there',
    () => stream?.notes.includes('open candidate') === true,
  );
  one.socket.send('now');
  await until('the judge hears both', () => stream?.messages('candidate').includes('now') === true);
  expect([stream?.messages('legacy'), ear.overheard[0]?.messages('legacy')]).toEqual([
    ['now'],
    ['hello from legacy'],
  ]);
  other.socket.terminate();

  const later = await withEar();
  const { socket, read } = await later.enter();
  later.state.decision = decisionFor('legacy');
  await later.front.traffic.reconsider();
  socket.send('unheard');
  await until('it is back', () => read.length === 2);
  expect(later.ear.overheard[0]?.messages('legacy')).toEqual(['hello from legacy']);
  // And the other way: flags show somebody else to the candidate from now on.
  later.state.decision = { ...decisionFor('legacy'), ...OVERHEARD };
  await later.front.traffic.reconsider();
  socket.send('heard');
  await until('it is back', () => read.length === 3);
  expect(later.ear.overheard[1]?.messages('legacy')).toEqual(['heard']);
});

test('answers and event streams of legacy are heard, and writes are not', async () => {
  const { candidate, ear, ask } = await withEar();
  expect(await (await ask('/threads/t1')).text()).toBe('legacy');
  await (await ask('/threads', { method: 'POST', body: 'x' })).text();
  const stream = await ask('/events');
  const reader = stream.body?.getReader();
  await reader?.read();
  const heard = await until('it is heard', () => ear.overheard[0]);
  await until('all of it', () => Buffer.concat(heard.bytesOf.legacy).length > 0);
  expect(String(Buffer.concat(heard.bytesOf.legacy))).toBe('data: legacy\n\n');
  await reader?.cancel();
  await until('it is over', () => heard.notes.at(-1) === 'end');
  expect(ear.overheardAnswers).toEqual(['ann legacy']);
  expect(ear.words).toEqual([
    'ann to legacy /threads/t1 ',
    'ann to legacy /threads ',
    'ann to legacy /events ',
  ]);
  expect([ear.exchanges, ear.unpairedOnes, candidate.asked]).toEqual([[], [], []]);
});

test('an event stream is heard until nobody is shown to the candidate any more', async () => {
  const { ear, front, state, ask } = await withEar();
  const streams = [await ask('/events'), await ask('/events')];
  await until('both are heard', () => ear.overheard.length === 2);
  state.decision = { ...decisionFor('legacy'), second: SHADOW };
  await front.traffic.reconsider();
  const ended = () => ear.overheard.filter(({ notes }) => notes.at(-1) === 'end').length;
  expect([ended(), ear.streams.length]).toEqual([0, 0]);
  await streams[0]?.body?.cancel();
  await until('that one is over', () => ended() === 1);
  state.decision = decisionFor('legacy');
  await front.traffic.reconsider();
  expect(ended()).toBe(2);
  await streams[1]?.body?.cancel();
});

test('what is no event stream, where one is due, is heard as an answer', async () => {
  const { ear, ask } = await withEar({
    routes: [{ name: 'stream', path: '/*', protocol: 'sse' }],
  });
  expect(await (await ask('/else')).text()).toBe('legacy');
  await until('it is heard', () => ear.overheardAnswers.length === 1);
  expect(ear.overheardAnswers).toEqual(['ann legacy']);
  expect(ear.overheard[0]?.bytesOf.legacy).toEqual([]);
});

test('an answer of legacy that is to be compared, and can not be shown, is heard all the same', async () => {
  const { ear, state, ask } = await withEar({
    identity: {
      sources: [
        { from: 'header', name: 'X-User' },
        { from: 'query', names: ['ticket'], singleUse: true },
      ],
      verify: 'unverified',
    },
  });
  state.decision = { ...decisionFor('legacy'), second: SHADOW };
  expect(await (await ask('/threads/t1?ticket=abc')).text()).toBe('legacy');
  await until('it is heard', () => ear.overheardAnswers.length === 1);
  expect([ear.overheardAnswers, ear.unpairedOnes]).toEqual([['ann legacy'], ['api legacy']]);
});

test('nobody anonymous is heard', async () => {
  const { ear, ask } = await withEar();
  await (await ask('/threads/t1', { headers: {} })).text();
  expect(ear.overheardAnswers).toEqual([]);
});

// The fault that this would be: told at once by the lane, and once more by the judge.
test('what the lane stops in it is told as something of which the judge has a copy', async () => {
  const { ear, front, state, enter } = await withEar();
  state.decision = { ...state.decision, isolation: 'sanitize' };
  const { socket, read } = await enter();
  socket.send('{"type":"note","userId":"bob"}');
  await until('it is back', () => read.length === 2);
  expect(read[1]).toBe('{"type":"note","userId":"ann"}');
  const [heard] = ear.overheard;
  if (heard !== undefined) heard.isDeaf = true;
  socket.send('{"type":"note","userId":"bob"}');
  await until('it is back', () => read.length === 3);
  expect(front.prevented.map(({ compared, side }) => [compared, side])).toEqual([
    [true, 'legacy'],
    [false, 'legacy'],
  ]);
});
