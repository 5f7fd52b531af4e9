// A rollback in the lanes: everything that the candidate serves goes to legacy at once, each at the pace
// that it needs, and the tally says what became of it.
import http from 'node:http';
import net from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { RollbackProgress } from '../../src/ports.ts';
import type { Decision, Side } from '../../src/rules/decide.ts';
import { closeFrame, NO_CODE, OPCODE, wholeFrame } from '../../src/wire/frames.ts';
import { Ear } from '../support/ear.ts';
import { freePort } from '../support/free-port.ts';
import { isLetGo } from '../support/lane.ts';
import { openedByTest } from '../support/opened.ts';
import {
  decisionFor,
  loadedConfig,
  type ProxyOptions,
  proxy,
  type TestProxy,
} from '../support/proxy.ts';
import {
  type RawEnd,
  type RawServer,
  rawClient,
  rawServer,
  upgradeRequest,
} from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(() => void vi.restoreAllMocks());
const open = openedByTest();

const ROUTE = { name: 'events', path: '/ws', protocol: 'websocket', mirror: 'all' } as const;
const ROUTES = new Set(['events']);
/** Who comes again at once when it is told to, and how many are told a second. */
const HERD = 150;
const HERD_PER_S = 200;
/** A frame of more bytes than there can be. */
const UNFRAMEABLE = Buffer.from([0x82, 0x7f, ...Array<number>(8).fill(0xff)]);
const cpuMs = ({ user, system }: NodeJS.CpuUsage) => (user + system) / 1_000;
const event = (seq: number) => JSON.stringify({ type: 'step', run_id: 'r', seq });

interface Service {
  port: number;
  sockets: WebSocket[];
  /** When each handshake came, ms, whose it was, and the how manieth to connect: handshakes may overtake. */
  dialled: { at: number; url: string; nth: number }[];
  say(text: string): void;
  close(): void;
}

async function service(at?: number): Promise<Service> {
  // One that nobody else is given while it is down.
  const port = at ?? (await freePort());
  const front = http.createServer((_, response) => response.writeHead(426).end());
  const server = new WebSocketServer({ server: front });
  const sockets: WebSocket[] = [];
  const connected: net.Socket[] = [];
  const dialled: Service['dialled'] = [];
  front.on('connection', socket => void connected.push(socket));
  server.on('connection', (socket, request) => {
    sockets.push(socket);
    const nth = connected.indexOf(request.socket);
    dialled.push({ at: performance.now(), url: request.url ?? '', nth });
    socket.on('error', () => undefined);
  });
  await new Promise<void>(resolve => front.listen(port, '127.0.0.1', resolve));
  const close = () => {
    for (const socket of server.clients) socket.terminate();
    server.close();
    front.close();
  };
  open.push({ close });
  return {
    ...{ sockets, dialled, close },
    port,
    say: text => {
      for (const socket of server.clients) socket.send(text);
    },
  };
}

interface Client {
  socket: WebSocket;
  read: string[];
  code: number | null;
  closedAt: number;
}

type Options = Partial<ProxyOptions> & { clients?: number; second?: boolean; legacyPort?: number };

/** Clients whom the candidate serves, and a switch that takes the decision back to legacy. */
async function line({ clients: count = 1, second = true, legacyPort, ...rest }: Options = {}) {
  const candidate = await service();
  const legacy = legacyPort === undefined ? await service() : null;
  let decision: Decision = decisionFor('candidate');
  const serve = (primary: Side, standby = second) => {
    decision = {
      ...decisionFor(primary),
      second: !standby
        ? null
        : primary === 'candidate'
          ? { side: 'legacy', role: 'standby' }
          : { side: 'candidate', role: 'shadow' },
    };
  };
  serve('candidate');
  const front = await proxy({
    legacy: legacy?.port ?? legacyPort ?? 0,
    candidate: candidate.port,
    routes: [ROUTE],
    decider: () => ({ decision, revision: 'test' }),
    ...rest,
  });
  open.push(front);
  const clients = await Promise.all(
    Array.from({ length: count }, async (_, index) => enter(front.port, `/ws?n=${index}`)),
  );
  if (second) await until('all have a second leg', () => legacy?.sockets.length === count);
  const rollBack = (how?: { sever: boolean }): RollbackProgress => {
    serve('legacy', how?.sever === true ? false : second);
    return front.traffic.rollBack(ROUTES, how);
  };
  return { candidate, legacy: legacy as Service, front, clients, serve, rollBack };
}

/** A client whose WebSocket a service has let in that the test plays; what comes from here on is in `client.received`. */
async function rawSession(front: TestProxy, played: RawServer) {
  const client = await rawClient(front.port);
  open.push({ close: () => client.socket.destroy() });
  client.write(upgradeRequest());
  const upstream = await played.next();
  await upstream.accept();
  await client.has('\r\n\r\n');
  client.received = Buffer.alloc(0);
  return { client, upstream };
}

async function enter(port: number, path = '/ws'): Promise<Client> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`);
  const client: Client = { socket, read: [], code: null, closedAt: 0 };
  open.push({ close: () => socket.terminate() });
  socket.on('message', data => void client.read.push(String(data)));
  socket.on('close', code => {
    client.code = code;
    client.closedAt = performance.now();
  });
  socket.on('error', () => undefined);
  await until('it is in', () => socket.readyState === WebSocket.OPEN);
  return client;
}

const over = async (progress: RollbackProgress) => {
  let isOver = false;
  void progress.done.then(() => {
    isOver = true;
  });
  await until('the rollback is over', () => isOver, 20_000);
};
const NONE = { inPlace: 0, redialled: 0, closed: 0, left: 0, failed: 0, pending: 0 };

test('54: sessions whose second leg stands by go all at once; nobody is closed, and nothing lost or doubled', async () => {
  const { candidate, legacy, clients, front, rollBack } = await line({ clients: 400 });
  let said = 0;
  const speak = () => {
    said += 1;
    for (const each of [candidate, legacy]) each.say(event(said));
  };
  speak();
  await until('all have one', () => clients.every(({ read }) => read.length === 1));
  expect(front.traffic.rollbackOutlook(new Set(['events']))).toMatchObject({
    warm: 400,
    toDial: 0,
    paceMs: 0,
  });
  const speaking = setInterval(speak, 20);
  open.push({ close: () => clearInterval(speaking) });
  const progress = rollBack();
  await over(progress);
  clearInterval(speaking);
  // From now on the candidate's word reaches nobody.
  candidate.say(event(9_999));
  speak();
  await until('all have all', () => clients.every(({ read }) => read.length >= said));
  for (const { read, code } of clients) {
    expect(read).toEqual(Array.from({ length: said }, (_, index) => event(index + 1)));
    expect(code).toBeNull();
  }
  expect(progress.sessions).toEqual({ ...NONE, affected: 400, inPlace: 400 });
  expect(front.traffic.rollbackOutlook(new Set(['events'])).warm).toBe(0);
});

test('no more dials are under way at once than is set, and one that is free is used at once', async () => {
  let underWay = 0;
  let most = 0;
  const slow = http.createServer();
  const accept = new WebSocketServer({ noServer: true });
  slow.on('upgrade', (request, socket, head) => {
    underWay += 1;
    most = Math.max(most, underWay);
    setTimeout(() => {
      underWay -= 1;
      accept.handleUpgrade(request, socket, head, () => undefined);
    }, 30);
  });
  await new Promise<void>(resolve => slow.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      for (const socket of accept.clients) socket.terminate();
      slow.closeAllConnections();
      slow.close();
    },
  });
  const { rollBack } = await line({
    ...{ clients: 12, second: false, legacyPort: (slow.address() as net.AddressInfo).port },
    limits: { movesPerS: 10_000, dialsAtOnce: 3 },
  });
  const progress = rollBack();
  await over(progress);
  expect(progress.sessions).toEqual({ ...NONE, affected: 12, redialled: 12 });
  expect(most).toBe(3);
});

describe.concurrent.each([
  ['are dialled for', {}],
  ['are told to come again', { onSwitch: 'reconnect' }],
] as const)('where sessions %s', (_what, how) => {
  const both = [
    { ...ROUTE, ...how },
    { ...ROUTE, ...how, name: 'other', path: '/other' },
  ];
  /** 40 sessions of `events` and one of `other`, which was active before them; they go at 20 a second. */
  async function twoRoutes() {
    const sides: Record<string, Side> = { events: 'candidate', other: 'candidate' };
    const up = await line({
      ...{ clients: 0, second: false, routes: both, limits: { movesPerS: 20 } },
      decider: ({ name }) => ({ decision: decisionFor(sides[name] as Side), revision: 'test' }),
    });
    const { front, legacy } = up;
    await enter(front.port, '/other');
    const clients = await Promise.all(Array.from({ length: 40 }, () => enter(front.port)));
    const gone = () => legacy.sockets.length + clients.filter(({ code }) => code !== null).length;
    const rollBack = (route: string) => {
      sides[route] = 'legacy';
      return front.traffic.rollBack(new Set([route]));
    };
    return { front, sides, gone, rollBack };
  }

  // The fault: it waited for all of a planned change of another route, and its proof did not.
  test('a rollback does not wait for the planned change of another route', async () => {
    const { front, sides, gone, rollBack } = await twoRoutes();
    sides.events = 'legacy';
    await front.traffic.reconsider();
    await until('some have gone', () => gone() >= 2);
    expect(front.traffic.rollbackOutlook(new Set(['other'])).paceMs).toBe(50);
    await over(rollBack('other'));
    expect(gone()).toBeLessThan(30);
  });

  // The fault: who is still to go before it did not count, and its proof did not wait for it.
  test('a rollback waits for an earlier one, and how long is known beforehand', async () => {
    const { front, gone, rollBack } = await twoRoutes();
    const first = rollBack('events');
    expect(front.traffic.rollbackOutlook(new Set(['other'])).paceMs).toBe(41 * 50);
    expect(front.traffic.rollbackOutlook(new Set(['events'])).paceMs).toBe(40 * 50);
    expect(front.traffic.rollbackOutlook(new Set(['events', 'other'])).paceMs).toBe(41 * 50);
    await over(rollBack('other'));
    expect(gone()).toBeGreaterThan(30);
    await over(first);
  });
});

// What it is asked for must not take the places of those who are to leave it.
test('a candidate that does not answer keeps nobody from legacy', async () => {
  const asked: string[] = [];
  const upgrades = new WebSocketServer({ noServer: true });
  const candidate = http.createServer().on('upgrade', (request, socket, head) => {
    asked.push(request.url ?? '');
    if (request.url?.startsWith('/ws')) {
      upgrades.handleUpgrade(request, socket, head, () => undefined);
    } else socket.on('error', () => undefined);
  });
  await new Promise<void>(resolve => candidate.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      for (const socket of upgrades.clients) socket.terminate();
      candidate.closeAllConnections();
      candidate.close();
    },
  });
  const decisions: Record<string, Decision> = {
    events: decisionFor('candidate'),
    quiet: decisionFor('legacy'),
  };
  const { front, clients } = await line({
    ...{ second: false, candidate: (candidate.address() as net.AddressInfo).port },
    routes: [ROUTE, { ...ROUTE, name: 'quiet', path: '/quiet' }],
    limits: { dialsAtOnce: 1 },
    upstream: { handshakeTimeoutMs: 120_000 },
    decider: ({ name }) => ({ decision: decisions[name] as Decision, revision: 'test' }),
  });
  await enter(front.port, '/quiet');
  decisions.quiet = {
    ...decisionFor('legacy'),
    second: { side: 'candidate', role: 'shadow' },
  };
  await front.traffic.reconsider();
  await until('the candidate is asked, and says nothing', () => asked.includes('/quiet'));
  decisions.events = decisionFor('legacy');
  const progress = front.traffic.rollBack(ROUTES);
  await over(progress);
  expect(progress.sessions).toEqual({ ...NONE, affected: 1, redialled: 1 });
  expect(clients[0]?.code).toBeNull();
});

describe.concurrent.each([
  ['whose client said what only the candidate heard', { mirror: 'none' }],
  ['of a route that reconnects', { onSwitch: 'reconnect' }],
  ['of a route that drains', { onSwitch: 'drain' }],
] as const)('sessions %s', (_what, route) => {
  test('55: are told to come again, spread over the pace that is set', async () => {
    const { clients, front, candidate, rollBack } = await line({
      ...{ clients: 12, second: false },
      routes: [{ ...ROUTE, ...route }],
      limits: { movesPerS: 20 },
    });
    const heard: string[] = [];
    for (const socket of candidate.sockets) socket.on('message', data => heard.push(String(data)));
    for (const { socket } of clients) socket.send('hello');
    await until('it is heard', () => heard.length === 12);
    expect(front.traffic.rollbackOutlook(new Set(['events']))).toMatchObject({
      notMovable: 12,
      paceMs: 600,
    });
    const startMs = performance.now();
    const progress = rollBack();
    await progress.done;
    // The proof counts anew now: a client that has still to answer the close is on no candidate.
    expect(front.traffic.rollbackOutlook(new Set(['events'])).notMovable).toBe(0);
    await until('all are told', () => clients.every(({ code }) => code !== null));
    expect(clients.map(({ code }) => code)).toEqual(clients.map(() => 1012));
    expect(progress.sessions).toEqual({ ...NONE, affected: 12, closed: 12 });
    // Between any two of them lie 25 ms and more.
    const lastMs = Math.max(...clients.map(({ closedAt }) => closedAt));
    expect(lastMs - startMs).toBeGreaterThan(11 * 25 - 10);
  });
});

test('a session whose frames can not be followed is cut off: nobody knows a place for a close frame', async () => {
  const played = await rawServer();
  open.push(played);
  const { front, rollBack } = await line({
    ...{ clients: 0, second: false, candidate: played.port },
  });
  const { client, upstream } = await rawSession(front, played);
  upstream.write(UNFRAMEABLE);
  await until('it has that', () => client.received.equals(UNFRAMEABLE));
  expect(front.traffic.rollbackOutlook(ROUTES)).toMatchObject({ toDial: 0, notMovable: 1 });
  const progress = rollBack();
  await over(progress);
  await until('it is cut off', () => client.ended || client.closed);
  expect(client.received).toEqual(UNFRAMEABLE);
  expect(progress.sessions).toEqual({ ...NONE, affected: 1, closed: 1 });
  expect(front.traffic.rollbackOutlook(ROUTES).notMovable).toBe(0);
});

// Legacy stands by, and has not heard everything.
describe.each<[string, Partial<NonNullable<ProxyOptions['routes']>[number]>, string[]]>([
  [
    'whose preamble is longer than is kept',
    { preamble: ['join'] },
    [1, 2].map(room => JSON.stringify({ type: 'join', room, pad: 'x'.repeat(40_000) })),
  ],
  ['whose client said what is too long to be mirrored', {}, ['x'.repeat(1_048_577)]],
  ['whose client said what only the candidate heard', { mirror: 'none' }, ['hello']],
])('a session %s', (_what, route, messages) => {
  test('is told to come again, and a silent one beside it goes in place', async () => {
    const { candidate, legacy, clients, front, rollBack } = await line({
      ...{ clients: 2, routes: [{ ...ROUTE, ...route }] },
    });
    const heard: string[] = [];
    for (const socket of candidate.sockets)
      socket.on('message', data => void heard.push(String(data)));
    const [speaks, silent] = clients as [Client, Client];
    for (const message of messages) speaks.socket.send(message);
    await until('it is heard', () => heard.length === messages.length);
    expect(front.traffic.rollbackOutlook(ROUTES)).toMatchObject({
      ...{ warm: 1, toDial: 0, notMovable: 1 },
    });
    const progress = rollBack();
    await over(progress);
    await until('it is told', () => speaks.code !== null);
    legacy.say(event(1));
    await until('legacy serves the other one', () => silent.read.length === 1);
    expect([speaks.code, silent.code]).toEqual([1012, null]);
    expect(progress.sessions).toEqual({ ...NONE, affected: 2, inPlace: 1, closed: 1 });
    expect(front.doubts).toEqual([{ unreplayed: 0, unknown: 0, missing: 0 }]);
  });
});

test('55: all who are told to come again come at once, and unrelated requests are answered all the while', async () => {
  const cpuBefore = process.cpuUsage();
  const { clients, front, legacy, rollBack } = await line({
    ...{ clients: HERD, second: false },
    routes: [{ ...ROUTE, onSwitch: 'reconnect' }],
    limits: { movesPerS: HERD_PER_S },
  });
  const entering = cpuMs(process.cpuUsage(cpuBefore));
  const back: Client[] = [];
  for (const { socket } of clients) {
    socket.on('close', () => void enter(front.port).then(client => back.push(client)));
  }
  const statuses: number[] = [];
  const asking = { stop: false };
  const ask = async () => {
    const answer = await fetch(`http://127.0.0.1:${front.port}/other`);
    await answer.arrayBuffer();
    statuses.push(answer.status);
  };
  const askedFrom = process.cpuUsage();
  for (let n = 0; n < 20; n += 1) await ask();
  const anAsk = cpuMs(process.cpuUsage(askedFrom)) / statuses.length;
  const asked = (async () => {
    while (!asking.stop) {
      await ask();
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  })();
  const askedBefore = statuses.length;
  const startMs = performance.now();
  const cpuAt = process.cpuUsage();
  await over(rollBack());
  await until('all are back', () => back.length === clients.length);
  const comingBack = cpuMs(process.cpuUsage(cpuAt));
  asking.stop = true;
  await asked;
  expect(clients.map(({ code }) => code)).toEqual(clients.map(() => 1012));
  // Telling them and letting them in again costs what letting them in did, their own part included, and asking what it did; nothing spins.
  const asks = statuses.length - askedBefore;
  expect(comingBack).toBeLessThan(4 * entering + 200 + 2 * asks * anAsk);
  // They come as they were told, and not all together.
  expect(legacy.dialled).toHaveLength(HERD);
  const lastMs = Math.max(...legacy.dialled.map(({ at }) => at));
  expect(lastMs - startMs).toBeGreaterThan((750 * HERD) / HERD_PER_S);
  expect(asks).toBeGreaterThan(10);
  // A WebSocket service's own word to a plain request.
  expect(new Set(statuses)).toEqual(new Set([426]));
});

describe.concurrent('49, 53: where legacy can not be had', () => {
  const silent = () => net.createServer(socket => void socket.on('error', () => undefined));
  /** Says that to the handshakes: another status than 101, or a code with which it closes what it has accepted. */
  const saying = (what: number) => () => {
    const upgrades = new WebSocketServer({ noServer: true });
    return http.createServer().on('upgrade', (request, socket, head) => {
      socket.on('error', () => undefined);
      if (what < 1000) socket.end(`HTTP/1.1 ${what} No\r\nContent-Length: 0\r\n\r\n`);
      else {
        // In one write: what is open for a moment would be moved to if the machine stood still then.
        socket.cork();
        upgrades.handleUpgrade(request, socket, head, leg =>
          // A code that stands for a close without one can not be sent.
          what === NO_CODE ? leg.close() : leg.close(what),
        );
        socket.uncork();
      }
    });
  };

  test.each([
    ['it is down', null],
    ['it fails', saying(503)],
    ['it is asked too often', saying(429)],
    ['it does not know the path', saying(404)],
    ['it goes down', saying(1001)],
    ['it fails once it is open', saying(1011)],
    ['it fails once it is open, in an application’s words', saying(4500)],
    ['it is asked too often, and says so once it is open', saying(4429)],
    ['it says nothing', saying(NO_CODE)],
    ['it does not answer', silent],
  ])('because %s, sessions stay with the candidate, and are counted', async (_why, build) => {
    const port = await freePort();
    const server = build?.();
    await new Promise<void>(resolve => server?.listen(port, '127.0.0.1', resolve) ?? resolve());
    open.push({ close: () => server?.close() });
    const { candidate, clients, rollBack } = await line({
      ...{ clients: 3, second: false, legacyPort: port },
      upstream: { handshakeTimeoutMs: 300 },
    });
    const progress = rollBack();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 3, failed: 3 });
    // Nor is it said of any of them that it will not have him.
    expect(progress.refused).toBe(0);
    candidate.say(event(1));
    await until('they are served still', () => clients.every(({ read }) => read.length === 1));
    expect(clients.map(({ code }) => code)).toEqual([null, null, null]);
  });

  test('they go there as soon as it is back', async () => {
    const port = await freePort();
    const { clients, rollBack, front } = await line({
      clients: 2,
      second: false,
      legacyPort: port,
    });
    await over(rollBack());
    const legacy = await service(port);
    await until(
      'both have moved',
      () => front.reports.filter(r => r.kind === 'moved').length === 2,
      20_000,
    );
    legacy.say(event(1));
    await until('legacy serves them', () => clients.every(({ read }) => read.length === 1));
  });

  // The fault: the address that the session had begun with was dialled again and again.
  test('they go to where it is since a reload', async () => {
    const { clients, rollBack, front, candidate, legacy } = await line({
      clients: 2,
      second: false,
    });
    legacy.close();
    const moved = await service();
    front.traffic.reload(
      loadedConfig({ legacy: moved.port, candidate: candidate.port, routes: [ROUTE] }),
    );
    const progress = rollBack();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 2, redialled: 2 });
    moved.say(event(1));
    await until('legacy serves them', () => clients.every(({ read }) => read.length === 1));
  });

  test.each(['before it', 'behind it', 'without a rollback'])(
    'and the candidate dies as well, %s, their clients are told to come again, at the pace that is set',
    async when => {
      const { candidate, legacy, clients, rollBack } = await line({
        ...{ clients: 12, limits: { movesPerS: 20 } },
      });
      let progress: RollbackProgress | null = null;
      const startMs = performance.now();
      if (when === 'behind it') candidate.close();
      legacy.close();
      if (when !== 'without a rollback') progress = rollBack();
      candidate.close();
      await until('all are told', () => clients.every(({ code }) => code !== null));
      if (progress !== null) await over(progress);
      expect(clients.map(({ code }) => code)).toEqual(clients.map(() => 1012));
      const lastMs = Math.max(...clients.map(({ closedAt }) => closedAt));
      expect(lastMs - startMs).toBeGreaterThan(11 * 25 - 10);
    },
  );

  test('and the candidate dies as well, its client does not wait for the planned change of another route', async () => {
    const server = silent();
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    open.push({ close: () => server.close() });
    const sides: Record<string, Side> = { events: 'candidate', other: 'candidate' };
    const { candidate, clients, front } = await line({
      ...{ clients: 40, second: false, limits: { movesPerS: 20 } },
      legacyPort: (server.address() as net.AddressInfo).port,
      routes: [
        { ...ROUTE, onSwitch: 'reconnect' },
        { ...ROUTE, name: 'other', path: '/other' },
      ],
      decider: ({ name }) => ({ decision: decisionFor(sides[name] as Side), revision: 'test' }),
    });
    const other = await enter(front.port, '/other');
    Object.assign(sides, { events: 'legacy', other: 'legacy' });
    const progress = front.traffic.rollBack(new Set(['other']));
    await front.traffic.reconsider();
    candidate.sockets.at(-1)?.terminate();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 1, closed: 1 });
    await until('it is told', () => other.code === 1012);
    expect(clients.filter(({ code }) => code !== null).length).toBeLessThan(30);
  });

  // The fault: the proxy was named as who ended them, and no guardrail saw a candidate that fails.
  test.each([
    ['a reset', 'upstream-lost', 1006],
    ['1011', 'closed-by-upstream', 1011],
  ] as const)(
    'and the candidate fails by %s, that is why they end, and nobody is cut off who has still to be told',
    async (how, what, code) => {
      const { candidate, legacy, clients, front } = await line({
        ...{ clients: 4, limits: { movesPerS: 2, closeMs: 100 } },
      });
      const ends = (kind: string) => front.reports.filter(report => report.kind === kind);
      legacy.close();
      await until('no way back is left', () => ends('second-ended').length >= 4);
      for (const socket of candidate.sockets) {
        if (how === 'a reset') socket.terminate();
        else socket.close(1011);
      }
      await until('all are over', () => ends('closed').length === 4);
      expect(ends('closed')).toEqual(
        clients.map(() => ({ kind: 'closed', route: 'events', side: 'candidate', what, code })),
      );
      await until('all are told', () => clients.every(each => each.code !== null));
      expect(clients.map(each => each.code)).toEqual(clients.map(() => 1012));
    },
  );

  test('and the candidate dies while legacy is dialled, their clients are told to come again', async () => {
    const { candidate, clients, rollBack } = await line({
      ...{ clients: 2, second: false, legacyPort: await freePort() },
    });
    await over(rollBack());
    candidate.close();
    await until('both are told', () => clients.every(({ code }) => code !== null));
    expect(clients.map(({ code }) => code)).toEqual([1012, 1012]);
  });
});

describe('whom legacy will not have with what he came with', () => {
  const KNOWN = '/ws?known';

  /** `answers` says to the nth handshake 101, another status, or a close code in one write with a 101; 101 to `KNOWN`. */
  async function answering(
    answers: (nth: number, url: string) => number,
    { acceptsAfterMs = 0 } = {},
  ) {
    const upgrades = new WebSocketServer({ noServer: true });
    const asked: string[] = [];
    const server = http.createServer().on('upgrade', (request, socket, head) => {
      socket.on('error', () => undefined);
      const { url = '' } = request;
      if (url !== KNOWN) asked.push(url);
      const answer = url === KNOWN ? 101 : answers(asked.length, url);
      if (answer !== 101 && answer < 1000)
        return void socket.end(`HTTP/1.1 ${answer} No\r\nContent-Length: 0\r\n\r\n`);
      const accept = () => {
        socket.cork();
        upgrades.handleUpgrade(request, socket, head, leg => {
          if (answer !== 101) leg.close(answer);
        });
        socket.uncork();
      };
      if (acceptsAfterMs > 0 && url !== KNOWN) setTimeout(accept, acceptsAfterMs);
      else accept();
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    open.push({
      close: () => {
        for (const leg of upgrades.clients) leg.terminate();
        server.closeAllConnections();
        server.close();
      },
    });
    const legs = upgrades.clients;
    return { legacyPort: (server.address() as net.AddressInfo).port, asked, legs };
  }

  /** Somebody whom legacy has let in: as far as anybody can tell for a second and a half. */
  async function letIn(front: TestProxy, serve: (side: Side) => void) {
    serve('legacy');
    await enter(front.port, KNOWN);
    serve('candidate');
    const clock = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => clock() + 1_500);
  }

  // The fault: a client whose token had run out stayed with the candidate for ever, and legacy was asked once a second.
  test.each([401, 403, 440, 1000, 1003, 1008, 4001, 4401])(
    'because it says %i, is told to come again, and it is asked once',
    async answer => {
      const { legacyPort, asked } = await answering(() => answer);
      const at = await line({ clients: 3, second: false, legacyPort });
      const { clients, front, serve, rollBack } = at;
      await letIn(front, serve);
      expect(front.traffic.rollbackOutlook(ROUTES)).toMatchObject({ toDial: 3, notMovable: 0 });
      const progress = rollBack();
      await over(progress);
      expect(progress.sessions).toEqual({ ...NONE, affected: 3, closed: 3 });
      await until('all are told', () => clients.every(({ code }) => code !== null));
      expect(clients.map(({ code }) => code)).toEqual([1012, 1012, 1012]);
      expect(asked.length).toBe(3);
    },
  );

  test('and who was dialled for in vain before, is told so too', async () => {
    const { legacyPort } = await answering(nth => (nth === 1 ? 503 : 401));
    const { clients, front, serve, rollBack } = await line({ second: false, legacyPort });
    await letIn(front, serve);
    await over(rollBack());
    await until('it is told', () => clients[0]?.code === 1012);
  });

  // The fault: where its keys were broken everybody was told to come again, and nobody came in any more.
  test('as nobody else, stays with the candidate, is counted so, and goes as soon as it lets anybody in', async () => {
    let answer = 401;
    const { legacyPort, legs } = await answering(() => answer);
    const { candidate, clients, front, rollBack } = await line({
      ...{ clients: 3, second: false, legacyPort },
    });
    const progress = rollBack();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 3, failed: 3 });
    expect(progress.refused).toBe(3);
    const outlook = () => front.traffic.rollbackOutlook(ROUTES);
    expect(outlook()).toMatchObject({ toDial: 3, notMovable: 0, refused: 3 });
    candidate.say(event(1));
    await until('they are served still', () => clients.every(({ read }) => read.length === 1));
    answer = 101;
    await until('all have moved', () => outlook().toDial === 0);
    for (const leg of legs) leg.send(event(2));
    await until('legacy serves them', () => clients.every(({ read }) => read.length === 2));
    expect(clients.map(({ code }) => code)).toEqual([null, null, null]);
  });

  // The fault: status told it for as long as the session lived.
  test('as nobody else, is no longer counted so once the rollback is released', async () => {
    const { legacyPort } = await answering(() => 401);
    const { front, serve, rollBack } = await line({ second: false, legacyPort });
    const progress = rollBack();
    await over(progress);
    const outlook = () => front.traffic.rollbackOutlook(ROUTES);
    expect(outlook()).toMatchObject({ toDial: 1, refused: 1 });
    serve('candidate');
    await front.traffic.reconsider();
    expect(outlook()).toMatchObject({ toDial: 1, refused: 0 });
  });

  // The fault: they were tried again before that, where letting in took legacy longer than refusing.
  test('while nobody knows whether it lets in anybody, is neither told nor failed until that is known', async () => {
    const answer = (_nth: number, url: string) => (url.includes('n=1') ? 101 : 401);
    const { legacyPort } = await answering(answer, { acceptsAfterMs: 60 });
    const { clients, rollBack } = await line({ clients: 3, second: false, legacyPort });
    const progress = rollBack();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 3, redialled: 1, closed: 2 });
    await until('both are told', () => clients.filter(({ code }) => code === 1012).length === 2);
    expect(clients[1]?.code).toBeNull();
  });

  /**
   * One client of `events`, refused, and others of `other`, who are to be told before it, in a second and more.
   * `inVain`: by then a rollback of `events` is over, for which legacy failed.
   */
  async function inTurn({ inVain = false } = {}) {
    const { legacyPort, asked } = await answering(nth => (inVain && nth === 1 ? 503 : 401));
    const decisions = { events: decisionFor('candidate'), other: decisionFor('candidate') };
    const at = await line({
      ...{ clients: 0, second: false, legacyPort, limits: { movesPerS: 4 } },
      routes: [ROUTE, { ...ROUTE, name: 'other', path: '/other', onSwitch: 'reconnect' }],
      decider: ({ name }) => ({
        decision: decisions[name as keyof typeof decisions],
        revision: 'test',
      }),
    });
    const { front } = at;
    await letIn(front, side => Object.assign(decisions, { events: decisionFor(side) }));
    const client = await enter(front.port);
    // It is tried again after a second.
    const others = await Promise.all(
      Array.from({ length: inVain ? 9 : 5 }, () => enter(front.port, '/other')),
    );
    Object.assign(decisions, { events: decisionFor('legacy'), other: decisionFor('legacy') });
    if (inVain) await over(front.traffic.rollBack(ROUTES));
    const progress = front.traffic.rollBack(new Set(inVain ? ['other'] : ['events', 'other']));
    const ends = () => front.reports.filter(({ kind }) => kind === 'second-ended');
    await until('legacy has refused it', () => ends().length === (inVain ? 2 : 1));
    return { ...at, asked, client, others, progress };
  }

  test('waits for its turn, and is not dialled for meanwhile', async () => {
    const { client, others, progress, asked } = await inTurn();
    expect(progress.sessions).toMatchObject({ affected: 6, failed: 0 });
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 6, closed: 6 });
    await until('it is told', () => client.code === 1012);
    expect(others.map(({ code }) => code)).toEqual(others.map(() => 1012));
    expect(asked.length).toBe(1);
  });

  test('waits for its turn, though flags change when its rollback is over', async () => {
    const { client, front, progress, asked } = await inTurn({ inVain: true });
    await front.traffic.reconsider();
    await over(progress);
    await until('it is told', () => client.code === 1012);
    expect(asked.length).toBe(2);
  });

  test('waits for its turn, though the candidate dies meanwhile', async () => {
    const { client, others, progress, candidate } = await inTurn();
    candidate.sockets[0]?.terminate();
    await over(progress);
    await until('it is told', () => client.code === 1012);
    expect(others.map(({ code }) => code)).toEqual(others.map(() => 1012));
  });

  test('and whose turn comes behind a release, is served on, and has a way back again', async () => {
    const { legacyPort, legs } = await answering(nth => {
      if (nth > 2) return nth > 4 ? 503 : 101;
      // Whose turn it is next is asked for when this has arrived.
      serve('candidate', true);
      return 401;
    });
    const { serve, clients, candidate, front, rollBack } = await line({
      ...{ clients: 2, second: false, legacyPort },
    });
    await letIn(front, serve);
    const progress = rollBack();
    await until('legacy has refused both', () => {
      return front.reports.filter(({ kind }) => kind === 'second-ended').length === 2;
    });
    progress.end();
    await front.traffic.reconsider();
    const outlook = () => front.traffic.rollbackOutlook(ROUTES);
    await until('both have a way back', () => outlook().warm === 2);
    for (const leg of legs) leg.terminate();
    await until('and none, for want of legacy', () => outlook().toDial === 2);
    candidate.say(event(1));
    await until('both are served', () => clients.every(({ read }) => read.length === 1));
    expect(clients.map(({ code }) => code)).toEqual([null, null]);
  });

  // The fault: he was counted as one to be dialled for.
  test('since that has run out, is known beforehand, unless legacy stands by', async () => {
    const { legacyPort, asked } = await answering((_nth, url) => (url.includes('n=1') ? 101 : 503));
    const part = (json: unknown) => Buffer.from(JSON.stringify(json)).toString('base64url');
    const exp = Math.floor(Date.now() / 1_000) + 3_600;
    const token = [part({ alg: 'none' }), part({ sub: 'alice', exp }), 'x'].join('.');
    const { front, rollBack, serve } = await line({
      ...{ clients: 0, second: false, legacyPort },
      identity: { sources: [{ from: 'query', names: ['token'] }] },
    });
    serve('candidate', true);
    const clients = await Promise.all(
      [`token=${token}&n=1`, `token=${token}&n=2`, 'n=2'].map(query =>
        enter(front.port, `/ws?${query}`),
      ),
    );
    const outlook = () => front.traffic.rollbackOutlook(ROUTES);
    await until('one has a way back', () => outlook().warm === 1 && asked.length >= 3);
    expect(outlook()).toMatchObject({ warm: 1, toDial: 2, notMovable: 0 });
    const clock = Date.now.bind(Date);
    vi.spyOn(Date, 'now').mockImplementation(() => clock() + 3_700_000);
    expect(outlook()).toMatchObject({ warm: 1, toDial: 1, notMovable: 1 });
    const progress = rollBack();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 3, inPlace: 1, closed: 1, failed: 1 });
    await until('it is told', () => clients[1]?.code === 1012);
    expect(clients.map(({ code }) => code)).toEqual([null, 1012, null]);
  });
});

// The fault: he had a time at which he was to change sides, and was dialled for again then, as if for the first time.
test('whose new leg was lost again at once comes behind those who were not tried yet', async () => {
  const upgrades = new WebSocketServer({ noServer: true });
  const asked: string[] = [];
  const server = http.createServer().on('upgrade', (request, socket, head) => {
    socket.on('error', () => undefined);
    asked.push(request.url ?? '');
    const isFirst = asked.length === 1;
    // In one write: what is open for a moment would be moved to if the machine stood still then.
    socket.cork();
    upgrades.handleUpgrade(request, socket, head, leg => {
      if (isFirst) leg.close(1011);
    });
    socket.uncork();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () => {
      for (const leg of upgrades.clients) leg.terminate();
      server.closeAllConnections();
      server.close();
    },
  });
  const { rollBack } = await line({
    ...{ clients: 40, second: false, limits: { movesPerS: 20 } },
    legacyPort: (server.address() as net.AddressInfo).port,
  });
  await over(rollBack());
  await until('all have been tried, and one again', () => asked.length === 41);
  expect(asked.indexOf(asked[0] ?? '', 1)).toBe(40);
});

test('a candidate that dies in the middle of a message is why its session ends, though legacy stands by', async () => {
  const { candidate, clients, front } = await line();
  candidate.sockets[0]?.send('{"type":"step",', { fin: false });
  const passed = () =>
    [...front.traffic.counters()].reduce((sum, { counters }) => sum + counters.bytesToClient, 0);
  await until('it has begun', () => passed() > 0);
  candidate.sockets[0]?.terminate();
  await until('the client is told', () => clients[0]?.code === 1012);
  const closed = () => front.reports.filter(({ kind }) => kind === 'closed');
  await until('it is over', () => closed().length === 1);
  expect(closed()[0]).toMatchObject({ side: 'candidate', what: 'upstream-lost', code: 1006 });
});

test('a message that the candidate is in the middle of is brought to its end, and its last byte is noted', async () => {
  const limits = { boundaryMs: 20_000 };
  const { candidate, legacy, clients, front, rollBack } = await line({ limits });
  const [client] = clients;
  const [raw] = candidate.sockets;
  raw?.send('{"type":"step",', { fin: false });
  const passed = () =>
    [...front.traffic.counters()].reduce((sum, { counters }) => sum + counters.bytesToClient, 0);
  await until('it has begun', () => passed() > 0);
  const commandAt = performance.now();
  const progress = rollBack();
  raw?.send('"run_id":"r","seq":1}', { fin: true });
  legacy.say(event(1));
  legacy.say(event(2));
  await over(progress);
  await until('it has both', () => client?.read.length === 2);
  expect(client?.read).toEqual(['{"type":"step","run_id":"r","seq":1}', event(2)]);
  expect(progress.lastCandidateByteAt).toBeGreaterThan(commandAt);
  expect(progress.sessions).toEqual({ ...NONE, affected: 1, inPlace: 1 });
});

// The fault: it went there and back, and what the candidate had sent by then reached the client uncounted.
test('a session that is stopped on its way to the candidate never gets there', async () => {
  const ear = new Ear();
  const { candidate, legacy, clients, front, serve, rollBack } = await line({ tap: ear });
  const [client] = clients;
  const moved = () => front.reports.filter(({ kind }) => kind === 'moved');
  serve('legacy');
  await front.traffic.reconsider();
  await until('legacy serves it', () => moved().length === 1);
  candidate.say(event(1));
  await until('it is known', () => ear.streams[0]?.messages('candidate').length === 1);
  serve('candidate');
  // In one turn: both directions are stopped, and neither leg has spoken yet.
  const moving = front.traffic.reconsider();
  const progress = rollBack();
  await over(progress);
  await moving;
  legacy.say(event(2));
  await until('legacy serves it on', () => client?.read.includes(event(2)) === true);
  expect(client?.read).toEqual([event(2)]);
  expect(progress.lastCandidateByteAt).toBeNull();
  expect(moved().map(({ side }) => side)).toEqual(['legacy']);
  expect(progress.sessions).toEqual({ ...NONE, affected: 1, inPlace: 1 });
});

describe('while legacy does not answer one of a route, and the rollback of that is not over', () => {
  /**
   * Route `events`, with a session of the candidate's for which legacy never answers, and `other`, for which it does,
   * at once or by `waiting`.
   */
  async function halfSilent(options: Options = {}) {
    const upgrades = new WebSocketServer({ noServer: true });
    const waiting: (() => void)[] = [];
    const answers = { atOnce: true, dropped: 0 };
    const asked: string[] = [];
    const server = http.createServer().on('upgrade', (request, socket, head) => {
      socket.on('error', () => undefined);
      asked.push(request.url ?? '');
      if (!request.url?.startsWith('/other')) {
        answers.dropped -= 1;
        if (answers.dropped >= 0) socket.destroy();
        return;
      }
      const accept = () => upgrades.handleUpgrade(request, socket, head, () => undefined);
      if (answers.atOnce) accept();
      else waiting.push(accept);
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    open.push({
      close: () => {
        for (const socket of upgrades.clients) socket.terminate();
        server.closeAllConnections();
        server.close();
      },
    });
    const decisions: Record<string, Decision> = {
      events: decisionFor('candidate'),
      other: decisionFor('candidate'),
    };
    const up = await line({
      ...{ second: false, legacyPort: (server.address() as net.AddressInfo).port },
      routes: [ROUTE, { ...ROUTE, name: 'other', path: '/other' }],
      upstream: { handshakeTimeoutMs: 120_000 },
      decider: ({ name }) => ({ decision: decisions[name] as Decision, revision: 'test' }),
      ...options,
    });
    const moved = () => up.front.reports.filter(({ kind }) => kind === 'moved');
    const legs = upgrades.clients;
    return { ...up, decisions, answers, asked, waiting, legs, moved };
  }
  /** Of `other` on the candidate. */
  const candidates = ({ traffic }: TestProxy) => {
    const all = [...traffic.counters()];
    const found = all.find(({ route, side }) => route === 'other' && side === 'candidate');
    return { ...{ sessionsOpen: 0, secondLegsOpen: 0 }, ...found?.counters };
  };
  /** What waits for its time is due, before what waits for the next turn of the loop. */
  function setForward(): void {
    const clock = performance.now.bind(performance);
    const at = clock();
    while (clock() < at + 10);
    vi.spyOn(performance, 'now').mockImplementation(() => clock() + 6_000);
  }
  const standby = { side: 'legacy', role: 'standby' } as const;
  const shadow = { side: 'candidate', role: 'shadow' } as const;

  // The fault: the change was given up in the middle, and begun anew when the rollback was over.
  test('a change of flags that is being carried out on another route goes on', async () => {
    let isSlow = false;
    const decisions = {
      events: decisionFor('candidate'),
      other: { ...decisionFor('candidate'), second: standby },
    };
    const { front, legs, moved } = await halfSilent({
      decider: ({ name }) => {
        // Longer than one slice of looking at what is open.
        const until = performance.now() + (isSlow ? 1.5 : 0);
        while (performance.now() < until);
        return { decision: decisions[name as keyof typeof decisions], revision: 'test' };
      },
    });
    await Promise.all(Array.from({ length: 10 }, () => enter(front.port, '/other')));
    await until('all have a second leg', () => legs.size === 10);
    isSlow = true;
    Object.assign(decisions, { events: decisionFor('legacy'), other: decisionFor('legacy') });
    void front.traffic.reconsider();
    const progress = front.traffic.rollBack(ROUTES);
    await until('all others have moved', () => moved().length === 10);
    expect(progress.sessions).toMatchObject({ affected: 1, pending: 1 });
  });

  // The fault: one hiccup of legacy's put who is rolled back behind all who move as planned.
  test('who was dialled for in vain comes again before whoever moves as planned', async () => {
    const { front, decisions, answers, asked } = await halfSilent({
      ...{ clients: 2, limits: { movesPerS: 20 } },
    });
    answers.dropped = 1;
    await Promise.all(Array.from({ length: 60 }, () => enter(front.port, '/other')));
    decisions.events = decisionFor('legacy');
    decisions.other = decisionFor('legacy');
    await front.traffic.reconsider();
    const progress = front.traffic.rollBack(ROUTES);
    const others = () => asked.filter(url => url.startsWith('/other')).length;
    await until('it is tried again', () => asked.length - others() === 3, 20_000);
    // At 20 a second these are two seconds, of which one is between its two tries.
    expect(others()).toBeLessThan(40);
    expect(progress.sessions.affected).toBe(2);
  });

  // The fault: once the rollback that was in vain was over, its sessions were told behind all planned ones.
  test('whose candidate dies when legacy could not be had is told before whoever moves as planned', async () => {
    const { front, candidate, clients, decisions, answers } = await halfSilent({
      routes: [ROUTE, { ...ROUTE, name: 'other', path: '/other', onSwitch: 'reconnect' }],
      limits: { movesPerS: 20 },
    });
    answers.dropped = Number.POSITIVE_INFINITY;
    const others = await Promise.all(Array.from({ length: 60 }, () => enter(front.port, '/other')));
    decisions.events = decisionFor('legacy');
    await over(front.traffic.rollBack(ROUTES));
    decisions.other = decisionFor('legacy');
    await front.traffic.reconsider();
    candidate.sockets[0]?.terminate();
    await until('it is told', () => clients[0]?.code === 1012, 20_000);
    // All of them take three seconds.
    expect(others.filter(({ code }) => code !== null).length).toBeLessThan(40);
  });

  // The fault: what had changed for it besides was looked at when the rollback was over.
  test('who is let in, and has no part in it, is looked at all the same', async () => {
    const { front, candidate, decisions, answers, waiting, legs } = await halfSilent();
    Object.assign(answers, { atOnce: false });
    decisions.other = { ...decisionFor('legacy'), second: shadow };
    const entering = enter(front.port, '/other');
    await until('both services are asked', () => waiting.length + candidate.sockets.length === 3);
    decisions.events = decisionFor('legacy');
    decisions.other = decisionFor('legacy');
    const progress = front.traffic.rollBack(new Set(['events', 'other']), { sever: true });
    waiting[0]?.();
    const client = await entering;
    await until('the candidate hears it no more', () => candidate.sockets[1]?.readyState === 3);
    expect(progress.sessions).toMatchObject({ affected: 1, pending: 1 });
    for (const leg of legs) leg.send(event(1));
    await until('legacy serves it', () => client.read.length === 1);
  });

  // The fault: in the turns until theirs came, those whose time was up went to the candidate, and were dialled for.
  test('who was on the way to the candidate stays, though his time comes first', async () => {
    const { front, candidate, decisions, legs, moved } = await halfSilent({
      limits: { movesPerS: 1 },
    });
    decisions.other = decisionFor('legacy');
    const clients = [await enter(front.port, '/other'), await enter(front.port, '/other')];
    decisions.other = decisionFor('candidate');
    await front.traffic.reconsider();
    await until('one is dialled for', () => candidates(front).secondLegsOpen === 1);
    const dialled = candidate.sockets.length;
    const progress = await new Promise<RollbackProgress>(resolve => {
      setImmediate(() => {
        decisions.events = decisionFor('legacy');
        decisions.other = decisionFor('legacy');
        resolve(front.traffic.rollBack(new Set(['events', 'other'])));
        setForward();
      });
    });
    candidate.say(event(1));
    for (const leg of legs) leg.send(event(2));
    await until('legacy serves both', () => clients.every(({ read }) => read.includes(event(2))));
    expect(clients.map(({ read }) => read)).toEqual([[event(2)], [event(2)]]);
    expect(moved()).toEqual([]);
    expect(candidate.sockets).toHaveLength(dialled);
    expect(progress.sessions).toMatchObject({ affected: 1, pending: 1 });
  });

  // The fault: those whose time was up stayed with the candidate, and nobody took them back.
  test('who is on the way to the candidate because legacy died is taken back, though his time comes first', async () => {
    const { front, decisions, legs, moved } = await halfSilent({
      ...{ clients: 0, limits: { movesPerS: 10_000 } },
    });
    decisions.other = decisionFor('legacy');
    const clients = await Promise.all(
      Array.from({ length: 200 }, () => enter(front.port, '/other')),
    );
    decisions.other = decisionFor('candidate');
    await front.traffic.reconsider();
    await until('all are dialled for', () => candidates(front).secondLegsOpen === 200);
    for (const leg of legs) leg.terminate();
    await until('the first one has moved', () => moved().length > 0);
    decisions.other = decisionFor('legacy');
    const progress = front.traffic.rollBack(new Set(['other']));
    setForward();
    await over(progress);
    await until('legacy has them', () => candidates(front).sessionsOpen === 0);
    for (const leg of legs) leg.send(event(1));
    const left = clients.filter(({ code }) => code === null);
    await until('it serves all', () => left.every(({ read }) => read.length === 1));
  });
});

describe.concurrent('60: a handshake that is under way with the candidate', () => {
  /** So many clients who ask the candidate, which the test plays, and have no answer yet. */
  async function asking(count: number, options: Options = {}) {
    const played = await rawServer();
    open.push(played);
    const at = await line({ clients: 0, candidate: played.port, second: false, ...options });
    const entering = Array.from({ length: count }, () => enter(at.front.port));
    const asked: RawEnd[] = [];
    for (let i = 0; i < count; i += 1) {
      const end = await played.next();
      await end.has('\r\n\r\n');
      asked.push(end);
    }
    return { ...at, asked, entering: Promise.all(entering) };
  }

  // The fault: it was waited for until the candidate, which hung, was out of time: then it was refused.
  test.each([
    ['without a second leg', false],
    ['beside one of legacy', true],
  ])('is not waited for, and legacy has it: %s', async (_how, second) => {
    const { legacy, rollBack, entering, asked } = await asking(3, { second });
    const progress = rollBack();
    expect(progress.sessions).toMatchObject({ affected: 3, pending: 3 });
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 0 });
    const clients = await entering;
    legacy.say(event(1));
    await until('legacy serves all', () => clients.every(({ read }) => read.length === 1));
    await until('the candidate is let go', () => asked.every(isLetGo));
  });

  // The fault: at each change they were called back once more, at a pace beside that of those who are in.
  test('goes to legacy in line with those who are in, whatever changes meanwhile', async () => {
    const { legacy, front, asked, rollBack, entering } = await asking(20, {
      limits: { movesPerS: 20 },
    });
    for (const end of asked.slice(0, 10)) await end.accept();
    await until('ten are in', () => front.traffic.rollbackOutlook(ROUTES).toDial === 10);
    expect(front.traffic.rollbackOutlook(ROUTES).paceMs).toBe(1_000);
    const startMs = performance.now();
    const progress = rollBack();
    void rollBack();
    await front.traffic.reconsider();
    await over(progress);
    await entering;
    expect(legacy.dialled.length).toBe(20);
    // The first goes at once, and 19 more at 50 ms each.
    expect((legacy.dialled.at(-1)?.at ?? 0) - startMs).toBeGreaterThan(900);
  });

  // The fault: they went last, behind everybody whom the candidate serves meanwhile.
  test('goes to legacy before those who are in', async () => {
    const { front, asked, rollBack, entering } = await asking(12, { limits: { movesPerS: 4 } });
    // Those who came last would go first, were they all one to it.
    const [waiting, inside] = [asked.slice(0, 4), asked.slice(4)];
    for (const end of inside) await end.accept();
    await until('eight are in', () => front.traffic.rollbackOutlook(ROUTES).toDial === 8);
    const progress = rollBack();
    await until('all who wait are let go', () => waiting.every(isLetGo));
    expect(progress.sessions.redialled).toBeLessThan(6);
    await entering;
    await over(progress);
  });

  test('that it refuses or breaks off meanwhile goes to legacy as well', async () => {
    const { legacy, rollBack, entering, asked } = await asking(4, { limits: { movesPerS: 1 } });
    rollBack();
    for (const [i, end] of asked.entries()) {
      if (i % 2 === 0) end.socket.destroy();
      else end.write('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    }
    const clients = await entering;
    legacy.say(event(1));
    await until('legacy serves all', () => clients.every(({ read }) => read.length === 1));
  });

  test('that it grants before its turn is taken along', async () => {
    const { legacy, rollBack, entering, asked } = await asking(4, { limits: { movesPerS: 5 } });
    const progress = rollBack();
    for (const end of asked) if (!end.closed) await end.accept();
    const clients = await entering;
    await over(progress);
    legacy.say(event(1));
    await until('legacy serves all', () => clients.every(({ read }) => read.length === 1));
    const { affected, redialled } = progress.sessions;
    expect(redialled).toBe(affected);
  });

  test('by a ticket that lets him in once is waited for, and he is told to come again', async () => {
    const played = await rawServer();
    open.push(played);
    const { legacy, front, rollBack } = await line({
      ...{ clients: 0, candidate: played.port, second: false },
      identity: { sources: [{ from: 'query', names: ['ticket'], singleUse: true }] },
    });
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}/ws?ticket=abc`);
    let [wasIn, code] = [false, 0];
    socket.on('open', () => {
      wasIn = true;
    });
    socket.on('close', closedBy => {
      code = closedBy;
    });
    const asked = await played.next();
    await asked.has('\r\n\r\n');
    const progress = rollBack();
    expect(progress.sessions).toMatchObject({ affected: 1, pending: 1 });
    await asked.accept();
    await until('he is told', () => code > 0);
    expect({ wasIn, code }).toEqual({ wasIn: true, code: 1012 });
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 1, closed: 1 });
    expect(legacy.dialled).toEqual([]);
  });
});

test('a client that does not read holds nobody up, and what waits for it is counted', async () => {
  const { candidate, clients, front, rollBack } = await line({ clients: 2 });
  const [slow, other] = clients;
  slow?.socket.pause();
  const big = JSON.stringify({ type: 'step', run_id: 'r', seq: 1, text: 'x'.repeat(900_000) });
  const index = candidate.dialled.findIndex(({ url }) => url === '/ws?n=0');
  for (let i = 0; i < 20; i += 1) candidate.sockets[index]?.send(big);
  let [passed, unchanged] = [0, 0];
  await until('the proxy passes no more of it on', () => {
    const before = passed;
    for (const { counters } of front.traffic.counters())
      passed = Math.max(passed, counters.bytesToClient);
    unchanged = passed === before ? unchanged + 1 : 0;
    const isHeldBack = (candidate.sockets[index]?.bufferedAmount ?? 0) > 0;
    return isHeldBack && passed > 1_000_000 && unchanged > 100;
  });
  const progress = rollBack();
  await until('the other one has moved', () => progress.sessions.inPlace >= 1);
  expect(other?.code).toBeNull();
  await over(progress);
  expect(progress.queuedBytes).toBeGreaterThan(0);
});

// The fault: the primary was read no further, so the end of its message could not come, and the client was cut off.
describe('a client that is behind in reading, in the middle of a message,', () => {
  const big = (seq: number) =>
    JSON.stringify({ type: 'step', run_id: 'r', seq, text: 'x'.repeat(900_000) });

  /** Of a message of more than 65,535 bytes, unmasked (RFC 6455 5.2). */
  const FRAME_HEAD = 10;

  async function behind() {
    // Without the rest of the message it is over, and not before.
    const at = await line({ limits: { boundaryMs: 5_000 } });
    const { candidate, clients, front } = at;
    const [client] = clients as [Client];
    client.socket.pause();
    for (let seq = 1; seq <= 20; seq += 1) candidate.sockets[0]?.send(big(seq));
    const passed = () =>
      [...front.traffic.counters()].reduce((sum, { counters }) => sum + counters.bytesToClient, 0);
    let [before, unchanged] = [0, 0];
    await until('the proxy passes no more of it on', () => {
      unchanged = passed() === before ? unchanged + 1 : 0;
      before = passed();
      const isHeldBack = (candidate.sockets[0]?.bufferedAmount ?? 0) > 0;
      return isHeldBack && before > 1_000_000 && unchanged > 100;
    });
    const ends = Array.from({ length: 20 }, (_, index) => FRAME_HEAD + big(index + 1).length);
    for (const index of ends.keys()) ends[index] = (ends[index] ?? 0) + (ends[index - 1] ?? 0);
    /** All that has passed are whole messages. */
    const isWhole = () => ends.includes(passed());
    expect(isWhole()).toBe(false);
    return { ...at, client, isWhole };
  }

  test.each(['a rollback', 'a change of flags'])(
    'goes over by %s, and keeps its socket',
    async by => {
      const { client, legacy, front, serve, rollBack } = await behind();
      if (by === 'a rollback') rollBack();
      else {
        serve('legacy');
        await front.traffic.reconsider();
      }
      const over = () => front.reports.some(({ kind }) => kind === 'moved' || kind === 'closed');
      await until('it has moved', over);
      client.socket.resume();
      legacy.say(event(99));
      await until(
        'legacy serves it',
        () => client.code !== null || client.read.at(-1) === event(99),
      );
      const had = client.read.length - 1;
      expect(had).toBeGreaterThan(0);
      const candidates = Array.from({ length: had }, (_, index) => big(index + 1));
      expect(client.read.join() === [...candidates, event(99)].join()).toBe(true);
      expect(client.code).toBeNull();
    },
  );

  test('is told by a drain to come again, behind that message', async () => {
    const { client, front, isWhole } = await behind();
    void front.traffic.drain(20);
    await until('its last message has passed', isWhole);
    client.socket.resume();
    await until('it is told', () => client.code !== null);
    expect(client.code).toBe(1012);
    const candidates = client.read.map((_, index) => big(index + 1));
    expect(candidates.length).toBeGreaterThan(0);
    expect(client.read.join() === candidates.join()).toBe(true);
  });
});

test('a new leg that floods floods its own client alone, and nothing of it is lost or doubled', async () => {
  const { candidate, legacy, clients, rollBack } = await line({ clients: 2, second: false });
  const big = (seq: number) =>
    JSON.stringify({ type: 'step', run_id: 'r', seq, text: 'x'.repeat(200_000) });
  const progress = rollBack();
  await until('both are dialled', () => legacy.sockets.length === 2);
  const index = legacy.dialled.findIndex(({ url }) => url === '/ws?n=0');
  for (let seq = 1; seq <= 60; seq += 1) legacy.sockets[index]?.send(big(seq));
  candidate.say(event(1));
  await over(progress);
  legacy.say(event(99));
  await until('the other one is served', () => clients[1]?.read.at(-1) === event(99));
  await until('it has all of it', () => clients[0]?.read.at(-1) === event(99));
  const numbers = clients[0]?.read.map(text => (JSON.parse(text) as { seq: number }).seq) ?? [];
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(new Set(numbers)).toEqual(new Set([...Array.from({ length: 60 }, (_, i) => i + 1), 99]));
  expect(progress.sessions).toEqual({ ...NONE, affected: 2, redialled: 2 });
});

// The fault: the second one found nobody, ended at once, and was proven partly.
test('a second rollback has the sessions of the first one in its tally, too, and waits for them', async () => {
  const { front, legacy, clients, rollBack } = await line({
    ...{ clients: 3, second: false },
    limits: { movesPerS: 20 },
  });
  const first = rollBack();
  const second = rollBack({ sever: true });
  await second.found;
  expect(second.sessions).toEqual({ ...NONE, affected: 3, pending: 3 });
  const third = front.traffic.rollBack(new Set(['events', 'another']));
  await over(second);
  expect(front.traffic.rollbackOutlook(new Set(['events']))).toMatchObject({ warm: 0, toDial: 0 });
  await over(first);
  await over(third);
  for (const { sessions } of [first, second, third]) {
    expect(sessions).toEqual({ ...NONE, affected: 3, redialled: 3 });
  }
  expect(legacy.sockets.length).toBe(3);
  expect(clients.map(({ code }) => code)).toEqual([null, null, null]);
});

test('what legacy says to a new socket, or repeats for it, stays from the client however late it comes', async () => {
  const { legacy, clients, rollBack } = await line({
    ...{ second: false },
    routes: [
      {
        ...{ ...ROUTE, greeting: ['hello'] },
        compare: { allow: [{ path: '/recovered', as: 'replay' }] },
      },
    ],
  });
  await over(rollBack());
  legacy.say('{"type":"hello"}');
  legacy.say(JSON.stringify({ type: 'step', run_id: 'r', seq: 1, recovered: true }));
  legacy.say(event(2));
  await until('it has the event', () => clients[0]?.read.includes(event(2)) === true);
  expect(clients[0]?.read).toEqual([event(2)]);
});

test('an event that comes again from a leg that was dialled for it is withheld, however long ago it was delivered', async () => {
  const { legacy, candidate, clients, front, rollBack } = await line({ second: false });
  candidate.say(event(1));
  await until('it has one', () => clients[0]?.read.length === 1);
  const progress = rollBack();
  await until('legacy is dialled', () => legacy.sockets.length === 1);
  legacy.say(event(1));
  await over(progress);
  legacy.say(event(2));
  await until('it has two', () => clients[0]?.read.length === 2);
  expect(clients[0]?.read).toEqual([event(1), event(2)]);
  expect(front.doubts).toEqual([{ unreplayed: 0, unknown: 0, missing: 0 }]);
});

// What legacy said before its leg was there nobody knows: what follows may not be the next, and is counted.
test('what follows in a run of which legacy may have said more before it was dialled is counted as unknown', async () => {
  const { legacy, candidate, clients, front, rollBack } = await line({ second: false });
  candidate.say(event(1));
  await until('it has one', () => clients[0]?.read.length === 1);
  await over(rollBack());
  legacy.say(event(3));
  await until('it has two', () => clients[0]?.read.length === 2);
  expect(front.doubts.map(({ unknown }) => unknown)).toEqual([0, 1]);
});

// The fault: every event of it counted for five seconds.
test('of a run of which the client has had nothing yet, only the first that legacy says is in doubt', async () => {
  const { legacy, candidate, clients, front, rollBack } = await line({ second: false });
  candidate.say(event(1));
  await until('it has one', () => clients[0]?.read.length === 1);
  await over(rollBack());
  const other = (seq: number) => JSON.stringify({ type: 'step', run_id: 'new', seq });
  for (const seq of [1, 2, 3]) legacy.say(other(seq));
  // Of the other one more may be on its way that the candidate left out.
  for (const seq of [3, 4]) legacy.say(event(seq));
  await until('it has all', () => clients[0]?.read.length === 6);
  expect(front.doubts.map(({ unknown }) => unknown)).toEqual([0, 1, 1, 1]);
});

test('what follows in a run of which both have said the same since is known to be the next', async () => {
  const { legacy, candidate, clients, front, rollBack } = await line({ second: false });
  const progress = rollBack();
  await until('legacy is dialled', () => legacy.sockets.length === 1);
  for (const each of [candidate, legacy]) each.say(event(1));
  await over(progress);
  legacy.say(event(2));
  await until('it has two', () => clients[0]?.read.length === 2);
  expect(front.doubts.map(({ unknown }) => unknown)).toEqual([0]);
});

test('a client that leaves in the middle of it is counted as one that left', async () => {
  const { legacy, clients, rollBack } = await line({
    clients: 2,
    second: false,
    limits: { movesPerS: 1 },
  });
  const progress = rollBack();
  await until('one is dialled', () => legacy.sockets.length === 1);
  const dialled = legacy.dialled[0]?.url;
  for (const [index, { socket }] of clients.entries()) {
    if (dialled !== `/ws?n=${index}`) socket.close(1000);
  }
  await over(progress);
  expect(progress.sessions).toEqual({ ...NONE, affected: 2, redialled: 1, left: 1 });
});

// The fault: whoever left within the ten seconds before it made the rollback a partial one, with nothing left to do.
describe('whose goodbye the candidate has not answered', () => {
  /** Clients of a candidate that the test plays; legacy stands by. */
  async function withRaw(options: Options = {}) {
    const played = await rawServer();
    open.push(played);
    const at = await line({ clients: 0, second: false, candidate: played.port, ...options });
    const pair = async () => {
      const entering = enter(at.front.port);
      const upstream = await played.next();
      await upstream.accept();
      return { client: await entering, upstream };
    };
    const outlook = () => {
      const { warm, toDial, notMovable } = at.front.traffic.rollbackOutlook(ROUTES);
      return warm + toDial + notMovable;
    };
    return { ...at, played, pair, outlook };
  }
  const passed = (front: TestProxy) =>
    [...front.traffic.counters()].reduce((sum, { counters }) => sum + counters.bytesToClient, 0);
  const frame = (text: string) => wholeFrame(OPCODE.text, Buffer.from(text));

  test('is answered at once by a rollback, is none of those who are left, and hears the candidate no more', async () => {
    const { pair, outlook, rollBack, legacy } = await withRaw();
    const [leaving, silent, stays] = [await pair(), await pair(), await pair()];
    leaving.client.socket.close(4_001);
    silent.client.socket.close();
    for (const { upstream } of [leaving, silent])
      await until('the candidate knows', () => upstream.received.length > 0);
    expect(outlook()).toBe(1);
    const progress = rollBack();
    await progress.found;
    expect(progress.sessions).toMatchObject({ affected: 3, redialled: 0 });
    leaving.upstream.write(frame(event(1)));
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 3, redialled: 1, left: 2 });
    expect(progress.lastCandidateByteAt).toBeNull();
    expect(outlook()).toBe(0);
    await until('they are answered', () => leaving.client.code !== null);
    await until('both', () => silent.client.code !== null);
    expect([leaving.client.code, silent.client.code]).toEqual([4_001, 1005]);
    expect(leaving.client.read).toEqual([]);
    for (const { upstream } of [leaving, silent])
      await until('the candidate is let go', () => upstream.ended || upstream.closed);
    legacy.say(event(1));
    await until('the other one is served', () => stays.client.read.length === 1);
  });

  test('has the message whole that was under way, and that is the last of it', async () => {
    const { pair, front, rollBack } = await withRaw({ limits: { boundaryMs: 20_000 } });
    const { client, upstream } = await pair();
    const whole = frame(event(1));
    upstream.write(whole.subarray(0, 5));
    await until('it has begun', () => passed(front) === 5);
    client.socket.close(1000);
    await until('the candidate knows', () => upstream.received.length > 0);
    const progress = rollBack();
    upstream.write(Buffer.concat([whole.subarray(5), frame(event(2))]));
    await over(progress);
    await until('it is answered', () => client.code !== null);
    expect([client.code, client.read]).toEqual([1000, [event(1)]]);
    expect(progress.lastCandidateByteAt).not.toBeNull();
    expect(progress.sessions).toEqual({ ...NONE, affected: 1, left: 1 });
  });

  test('and who ended its side without one, is told to come again', async () => {
    const { played, outlook, front, rollBack } = await withRaw();
    const { client, upstream } = await rawSession(front, played);
    client.socket.end();
    await until('the candidate knows', () => upstream.ended);
    expect(outlook()).toBe(0);
    const progress = rollBack();
    await over(progress);
    upstream.write(frame(event(1)));
    await until('it has ended', () => client.ended);
    expect(client.received).toEqual(closeFrame(1012, 'service restart'));
    expect(progress.sessions).toEqual({ ...NONE, affected: 1, left: 1 });
  });

  test('and whom the candidate has said goodbye to, has nothing to wait for', async () => {
    const { played, outlook, front, rollBack } = await withRaw();
    const { client, upstream } = await rawSession(front, played);
    upstream.write(closeFrame(1001));
    await until('it is told', () => client.received.length === 4);
    const progress = rollBack();
    await over(progress);
    expect(outlook()).toBe(0);
    expect(progress.sessions).toEqual({ ...NONE, affected: 0 });
    expect(client.received).toEqual(closeFrame(1001));
  });
});

test('severed, the candidate hears and says nothing any more', async () => {
  const { candidate, legacy, clients, rollBack } = await line({ clients: 5 });
  const closes: number[] = [];
  for (const socket of candidate.sockets) socket.on('close', code => closes.push(code));
  const progress = rollBack({ sever: true });
  await over(progress);
  await until('all its legs are let go', () => closes.length === 5);
  legacy.say(event(1));
  await until('legacy serves all', () => clients.every(({ read }) => read.length === 1));
  expect(progress.sessions).toEqual({ ...NONE, affected: 5, inPlace: 5 });
});

test('severed where legacy serves already, second legs and shown streams are let go', async () => {
  const { candidate, clients, front, serve } = await line({ clients: 2 });
  serve('legacy');
  await front.traffic.reconsider();
  await until('legacy serves', () => front.reports.filter(r => r.kind === 'moved').length === 2);
  serve('legacy', false);
  const progress = front.traffic.rollBack(ROUTES, { sever: true });
  await over(progress);
  const closed = () => candidate.sockets.every(({ readyState }) => readyState === WebSocket.CLOSED);
  await until('the second legs are gone', closed);
  expect(progress.sessions).toEqual({ ...NONE, affected: 0 });
  expect(clients.map(({ code }) => code)).toEqual([null, null]);
});

test('a route that is not rolled back stays where it is', async () => {
  const { candidate, clients, front } = await line();
  const progress = front.traffic.rollBack(new Set(['another']));
  await over(progress);
  candidate.say(event(1));
  await until('it is served', () => clients[0]?.read.length === 1);
});

describe('HTTP', () => {
  async function web(answers: http.RequestListener, limits: ProxyOptions['limits'] = {}) {
    const server = http.createServer(answers);
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    open.push({
      close: () => {
        server.closeAllConnections();
        server.close();
      },
    });
    let decision = decisionFor('candidate');
    const { port } = server.address() as net.AddressInfo;
    const front = await proxy({
      ...{ legacy: port, candidate: port, limits },
      routes: [
        { name: 'stream', path: '/events', protocol: 'sse' },
        { name: 'api', path: '/*', protocol: 'http' },
      ],
      decider: () => ({ decision, revision: 'test' }),
    });
    open.push(front);
    const rollBack = () => {
      decision = decisionFor('legacy');
      return front.traffic.rollBack(new Set(['stream', 'api']));
    };
    const get = async (path: string) => {
      const at = { text: '', end: null as 'whole' | 'cut' | null };
      http.get(`http://127.0.0.1:${front.port}${path}`, { agent: false }, response => {
        response.setEncoding('utf8').on('data', chunk => {
          at.text += chunk;
        });
        response.on('close', () => {
          at.end = response.complete ? 'whole' : 'cut';
        });
        response.on('error', () => undefined);
      });
      await until('it has begun', () => at.text !== '');
      return at;
    };
    return { front, rollBack, get };
  }

  test('an event stream ends behind its event, and its client is told when to come back', async () => {
    let say: (text: string) => void = () => undefined;
    const answers: http.RequestListener = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      say = text => void response.write(text);
      say('data: half');
    };
    const { get, rollBack, front } = await web(answers, { boundaryMs: 20_000 });
    const at = await get('/events');
    expect(front.traffic.rollbackOutlook(new Set(['stream'])).answers).toBe(1);
    const progress = rollBack();
    say(' and half\n\ndata: too late\n\n');
    await until('it has ended', () => at.end !== null);
    expect(at.text).toMatch(/^data: half and half\n\nretry: \d{3,4}\n\n$/);
    expect(at.end).toBe('whole');
    await over(progress);
    expect(progress.answers).toEqual({ affected: 1, finished: 0, ended: 1, pending: 0 });
    expect(progress.lastCandidateByteAt).not.toBeNull();
  });

  // The fault: of answers and streams nothing was counted.
  test.each([
    ['an event stream', '/events', { 'content-type': 'text/event-stream' }],
    ['an answer', '/big', { 'content-length': 60_000_000 }],
  ])('what waits for a client that does not read %s is counted', async (_what, path, head) => {
    const { front, rollBack } = await web((_request, response) => {
      response.writeHead(200, head);
      response.write(`data: ${'x'.repeat(30_000_000)}`);
    });
    const client = net.connect(front.port, '127.0.0.1').pause();
    open.push({ close: () => client.destroy() });
    client.on('error', () => undefined);
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    let [passed, unchanged] = [0, 0];
    await until('the proxy passes no more of it on', () => {
      const before = passed;
      for (const { counters } of front.traffic.counters())
        passed = Math.max(passed, counters.bytesToClient);
      unchanged = passed === before ? unchanged + 1 : 0;
      return passed > 1_000_000 && unchanged > 100;
    });
    const progress = rollBack();
    await over(progress);
    expect(progress.answers).toMatchObject({ affected: 1, ended: 1 });
    expect(progress.queuedBytes).toBeGreaterThan(0);
  });

  test('an answer without a body has a last byte as well', async () => {
    const finish: (() => void)[] = [];
    const { front, rollBack } = await web((_request, response) => {
      finish.push(() => response.writeHead(204).end());
    });
    const at = fetch(`http://127.0.0.1:${front.port}/none`);
    await until('it is asked', () => finish.length === 1);
    const progress = rollBack();
    finish[0]?.();
    await at;
    await over(progress);
    expect(progress.answers).toMatchObject({ affected: 1, finished: 1 });
    expect(progress.lastCandidateByteAt).not.toBeNull();
  });

  test('a second rollback has the answers of the first one in its tally, too', async () => {
    const finish: (() => void)[] = [];
    const { get, rollBack } = await web((_request, response) => {
      response.writeHead(200, { 'content-length': 4 });
      response.write('ab');
      finish.push(() => response.end('cd'));
    });
    const at = await get('/slow');
    const [first, second] = [rollBack(), rollBack()];
    finish[0]?.();
    await until('it is whole', () => at.end === 'whole');
    await over(first);
    await over(second);
    expect([first.answers, second.answers]).toEqual(
      [1, 2].map(() => ({ affected: 1, finished: 1, ended: 0, pending: 0 })),
    );
    expect(
      [first, second].filter(({ lastCandidateByteAt }) => lastCandidateByteAt === null),
    ).toEqual([]);
  });

  test('answers have a time of grace: one is finished in it, another cut off, and new ones are not touched', async () => {
    const finish: (() => void)[] = [];
    const { get, rollBack } = await web((request, response) => {
      response.writeHead(200, { 'content-length': 4 });
      response.write('ab');
      if (request.url === '/quick') finish.push(() => response.end('cd'));
    });
    const [quick, slow] = [await get('/quick'), await get('/slow')];
    const progress = rollBack();
    const later = await get('/slow');
    finish[0]?.();
    await until('the quick one is whole', () => quick.end === 'whole');
    await over(progress);
    await until('the slow one is cut off', () => slow.end === 'cut');
    expect(progress.answers).toEqual({ affected: 2, finished: 1, ended: 1, pending: 0 });
    expect(later.end).toBeNull();
  });
});

// Side by side, as other groups here whose time is that of a pace or a limit.
describe.concurrent('at a pace,', () => {
  test('without second legs they are dialled at the pace that is set, whoever was active last first', async () => {
    const { candidate, legacy, clients, front, rollBack } = await line({
      ...{ clients: 20, second: false },
      limits: { movesPerS: 20, closeMs: 100 },
    });
    const last = candidate.dialled.findIndex(({ url }) => url === '/ws?n=7');
    candidate.sockets[last]?.send(event(1));
    await until('it has one', () => clients[7]?.read.length === 1);
    // The lane looks at its sessions about once a second: then it notices that, and gives up one that does not
    // follow a close.
    const stuck = await enter(front.port, '/ws?n=20');
    stuck.socket.pause();
    candidate.sockets[20]?.close(1000);
    const isOver = () => front.reports.some(({ kind }) => kind === 'closed');
    await until('the lane has looked', isOver);
    expect(front.traffic.rollbackOutlook(new Set(['events']))).toMatchObject({
      toDial: 20,
      paceMs: 1_000,
    });
    const startMs = performance.now();
    const progress = rollBack();
    await over(progress);
    expect(progress.sessions).toEqual({ ...NONE, affected: 20, redialled: 20 });
    // The first goes at once, and 19 more at 50 ms each; whoever is not scheduled for a time is only later.
    expect((legacy.dialled.at(-1)?.at ?? 0) - startMs).toBeGreaterThan(900);
    // The slice of a millisecond in which moving begins may not have come to it; the next look finds it.
    expect(legacy.dialled.find(({ url }) => url === '/ws?n=7')?.nth).toBeLessThan(2);
    legacy.say(event(2));
    await until('legacy serves all', () => clients.every(({ read }) => read.at(-1) === event(2)));
    expect(clients.map(({ code }) => code)).toEqual(clients.map(() => null));
  });

  // The fault: each was dialled by its own clock, and all clocks went alike.
  test('ways back that are all lost when legacy restarts are dialled again at the pace that is set', async () => {
    const { legacy } = await line({ clients: 30, limits: { movesPerS: 20 } });
    const startMs = performance.now();
    for (const socket of legacy.sockets) socket.close(1012);
    await until('all are there again', () => legacy.dialled.length === 60);
    // The first goes after a second, and 29 more at 50 ms each.
    expect((legacy.dialled.at(-1)?.at ?? 0) - startMs).toBeGreaterThan(2_300);
  });

  test('sessions that are to be compared from now on are shown at the pace that is set', async () => {
    const { candidate, legacy, front, serve, clients } = await line({
      ...{ clients: 30, second: false, limits: { movesPerS: 20 } },
    });
    const startMs = performance.now();
    serve('candidate', true);
    await front.traffic.reconsider();
    await until('all are shown', () => legacy.dialled.length === 30);
    expect((legacy.dialled.at(-1)?.at ?? 0) - startMs).toBeGreaterThan(1_300);
    for (const each of [legacy, candidate]) each.say(event(1));
    await until('all are served', () => clients.every(({ read }) => read.length === 1));
  });

  // The fault: whoever was on the way by an earlier one was passed over, though he had lost his turn.
  test('whoever lost his turn to a release is told to come again by a rollback that follows at once', async () => {
    const { clients, serve, rollBack } = await line({
      ...{ clients: 8, second: false },
      routes: [{ ...ROUTE, onSwitch: 'reconnect' }],
      limits: { movesPerS: 4 },
    });
    const told = () => clients.filter(({ code }) => code === 1012).length;
    const first = rollBack();
    await until('some are told', () => told() > 0);
    serve('candidate');
    const at = performance.now();
    await until('all have been asked', () => performance.now() > at + 500);
    expect(told()).toBeLessThan(8);
    const second = rollBack();
    await until('all are told', () => told() === 8);
    await Promise.all([over(first), over(second)]);
    expect(first.sessions).toEqual({ ...NONE, affected: 8, closed: 8 });
  });

  // The fault: they were told after the release as well, though nothing wanted them gone any more.
  test.each(['a rollback that is released', 'a change of flags that is taken back'])(
    'whoever was not told yet to come again by %s is served on',
    async what => {
      const { clients, candidate, front, serve, rollBack } = await line({
        ...{ clients: 40, second: false },
        routes: [{ ...ROUTE, onSwitch: 'reconnect' }],
        limits: { movesPerS: 20 },
      });
      const told = () => clients.filter(({ code }) => code !== null).length;
      if (what.startsWith('a rollback')) {
        const progress = rollBack();
        await until('some are told', () => told() > 2);
        serve('candidate');
        progress.end();
      } else {
        serve('legacy');
        await front.traffic.reconsider();
        await until('some are told', () => told() > 2);
        serve('candidate');
      }
      await front.traffic.reconsider();
      const at = performance.now();
      await until('all would have been told', () => performance.now() > at + 2_500);
      candidate.say(event(1));
      // Some may have been told at the moment when it was taken back.
      await until('the rest is served', () =>
        clients.every(({ code, read }) => code !== null || read.length === 1),
      );
      expect(clients.filter(({ code }) => code === null).length).toBeGreaterThan(5);
    },
  );
});
