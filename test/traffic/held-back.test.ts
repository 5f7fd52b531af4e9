// A client that does not read holds back both services, so that neither is compared with what the other
// one has not been asked for yet.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { Side } from '../../src/rules/decide.ts';
import { Ear, type HeardStream } from '../support/ear.ts';
import { decisionFor, proxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const TEXT = 'y'.repeat(200_000);
/** Far more than the sockets on the way to a client hold. */
const MESSAGES = 150;

async function service() {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  const sockets: WebSocket[] = [];
  server.on('connection', socket => void sockets.push(socket));
  await until('it listens', () => server.address() !== null);
  open.push({
    close: () => {
      for (const socket of sockets) socket.terminate();
      server.close();
    },
  });
  return { port: (server.address() as { port: number }).port, sockets };
}

/** Looking for messages in as many bytes again and again would take the processor from what is waited for. */
function hasAll({ bytesOf }: HeardStream, side: Side = 'candidate'): boolean {
  return bytesOf[side].reduce((sum, { length }) => sum + length, 0) > MESSAGES * TEXT.length;
}

/** For good: of a process that stood still the timer that says so comes before what has drained meanwhile. */
async function untilHeld({ notes }: HeardStream) {
  await until('the judge is told, and of nothing else since', async () => {
    const told = notes.length;
    if (notes.at(-1) !== 'held') return false;
    await pause(500);
    return notes.length === told;
  });
}

test('while a client does not read the second leg is not read either, and both go on with it', async () => {
  const [legacy, candidate] = [await service(), await service()];
  const ear = new Ear();
  const decision = {
    ...decisionFor('legacy'),
    second: { side: 'candidate', role: 'shadow' },
  } as const;
  const front = await proxy({
    ...{ legacy: legacy.port, candidate: candidate.port, tap: ear },
    routes: [{ name: 'events', path: '/ws', protocol: 'websocket', mirror: 'all' }],
    decider: () => ({ decision, revision: 'test' }),
  });
  open.push(front);
  const client = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, { perMessageDeflate: false });
  open.push({ close: () => client.terminate() });
  let read = 0;
  client.on('message', () => {
    read += 1;
  });
  const isIn = () => legacy.sockets.length === 1 && candidate.sockets.length === 1;
  await until('both have it', () => isIn() && client.readyState === WebSocket.OPEN);
  client.pause();
  for (const { sockets } of [legacy, candidate])
    for (let i = 0; i < MESSAGES; i += 1) sockets[0]?.send(TEXT);
  const heard = ear.streams[0];
  if (heard === undefined) throw new Error('nothing is compared');
  await untilHeld(heard);
  expect(legacy.sockets[0]?.bufferedAmount).toBeGreaterThan(0);
  // It may have been read to its end before that; what it says from now on is not.
  candidate.sockets[0]?.send('the last one');
  // As much passes to somebody else meanwhile, of both.
  const other = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, { perMessageDeflate: false });
  open.push({ close: () => other.terminate() });
  let readByOther = 0;
  other.on('message', () => {
    readByOther += 1;
  });
  await until('both have him', () => [legacy, candidate].every(each => each.sockets.length === 2));
  for (const { sockets } of [legacy, candidate])
    for (let i = 0; i < MESSAGES; i += 1) sockets[1]?.send(TEXT);
  const isThrough = () => ear.streams[1] !== undefined && hasAll(ear.streams[1]);
  await until('he has all', () => readByOther === MESSAGES && isThrough());
  expect(heard.messages('candidate')).not.toContain('the last one');
  client.resume();
  await until('the client has read all', () => read === MESSAGES);
  await until(
    'so has the judge',
    () => hasAll(heard) && heard.messages('candidate').length > MESSAGES,
  );
  expect(heard.notes.at(-1)).toBe('released');
});

test('a client that leaves without having read lets the second leg speak to its end', async () => {
  const [legacy, candidate] = [await service(), await service()];
  const ear = new Ear();
  const decision = {
    ...decisionFor('legacy'),
    second: { side: 'candidate', role: 'shadow' },
  } as const;
  const front = await proxy({
    ...{ legacy: legacy.port, candidate: candidate.port, tap: ear },
    routes: [{ name: 'events', path: '/ws', protocol: 'websocket', mirror: 'all' }],
    decider: () => ({ decision, revision: 'test' }),
  });
  open.push(front);
  const client = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, { perMessageDeflate: false });
  const isIn = () => legacy.sockets.length === 1 && candidate.sockets.length === 1;
  await until('both have it', () => isIn() && client.readyState === WebSocket.OPEN);
  client.pause();
  for (let i = 0; i < MESSAGES; i += 1) legacy.sockets[0]?.send(TEXT);
  const heard = ear.streams[0];
  if (heard === undefined) throw new Error('nothing is compared');
  heard.waits = true;
  await until('the judge is told', () => heard.notes.includes('held'));
  candidate.sockets[0]?.send('the end');
  client.terminate();
  await until('the judge has heard it', () => heard.messages('candidate').includes('the end'));
  expect(heard.notes).toContain('released');
  heard.settled();
  await until('it is over', () => heard.notes.at(-1) === 'end');
});

/** A service whose answers are event streams that the test feeds. */
async function eventStreams() {
  const answers: http.ServerResponse[] = [];
  const server = http.createServer((_request, response) => {
    response.setHeader('content-type', 'text/event-stream');
    response.write(': hello\n\n');
    answers.push(response);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return { port: (server.address() as AddressInfo).port, answers };
}

test('a client that does not read its event stream holds back both services, until it reads', async () => {
  const [legacy, candidate] = [await eventStreams(), await eventStreams()];
  const ear = new Ear();
  const decision = {
    ...decisionFor('legacy'),
    second: { side: 'candidate', role: 'shadow' },
  } as const;
  const front = await proxy({
    ...{ legacy: legacy.port, candidate: candidate.port, tap: ear },
    routes: [{ name: 'sse', path: '/*', protocol: 'sse' }],
    decider: () => ({ decision, revision: 'test' }),
  });
  open.push(front);
  const answer = await new Promise<http.IncomingMessage>(resolve => {
    const asked = http.get({ host: '127.0.0.1', port: front.port, path: '/e' }, resolve);
    open.push({ close: () => asked.destroy() });
  });
  answer.on('error', () => undefined).pause();
  await until('both have it', () => legacy.answers.length === 1 && candidate.answers.length === 1);
  for (const { answers } of [legacy, candidate])
    for (let i = 0; i < MESSAGES; i += 1) answers[0]?.write(`data: ${TEXT}\n\n`);
  const heard = ear.streams[0];
  if (heard === undefined) throw new Error('nothing is compared');
  await until('the judge is told', () => heard.notes.includes('held'));
  expect(legacy.answers[0]?.writableLength).toBeGreaterThan(0);
  expect(candidate.answers[0]?.writableLength).toBeGreaterThan(0);
  answer.resume();
  await until('all is heard', () => hasAll(heard, 'legacy') && hasAll(heard));
  expect(heard.notes.at(-1)).toBe('released');
});
