// A client that does not read holds back both services, so that neither is compared with what the other
// one has not been asked for yet.
import { afterEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { Ear } from '../support/ear.ts';
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
  await until('the judge is told', () => heard.notes.includes('held'));
  expect(legacy.sockets[0]?.bufferedAmount).toBeGreaterThan(0);
  expect(candidate.sockets[0]?.bufferedAmount).toBeGreaterThan(0);
  client.resume();
  await until('the client has read all', () => read === MESSAGES);
  await until('so has the judge', () => heard.messages('candidate').length === MESSAGES);
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
