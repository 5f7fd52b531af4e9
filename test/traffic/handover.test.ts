// Live sessions change hands: the client keeps its socket, and gets each event once.
import { once } from 'node:events';
import type net from 'node:net';
import { describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import type { Decision, IsolationMode, SecondLeg, Side } from '../../src/rules/decide.ts';
import { wasHeard } from '../../src/rules/isolation/turns.ts';
import { wholeFrame } from '../../src/wire/frames.ts';
import { Ear } from '../support/ear.ts';
import { freePort } from '../support/free-port.ts';
import { openedByTest } from '../support/opened.ts';
import { decisionFor, type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

const open = openedByTest();

const ROUTE = { name: 'events', path: '/ws', protocol: 'websocket', mirror: 'all' } as const;
const beside = (primary: Side): SecondLeg =>
  primary === 'legacy'
    ? { side: 'candidate', role: 'shadow' }
    : { side: 'legacy', role: 'standby' };

const event = (seq: number, run = 'r1') =>
  JSON.stringify({ type: 'step', run_id: run, seq, text: `number ${seq}` });

async function service(protocol: string | false = false) {
  const port = await freePort();
  const server = new WebSocketServer({
    ...{ port, host: '127.0.0.1', handleProtocols: () => protocol },
  });
  const heard: string[] = [];
  const sockets: WebSocket[] = [];
  const closes: number[] = [];
  /** Of each socket, the role that it was marked with. */
  const marks: (string | null)[] = [];
  server.on('connection', (socket, { headers }) => {
    sockets.push(socket);
    marks.push(headers['x-cutover-role']?.toString() ?? null);
    socket.on('message', data => void heard.push(String(data)));
    socket.on('close', code => void closes.push(code));
  });
  await until('it listens', () => server.address() !== null);
  open.push({
    close: () => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    },
  });
  return {
    ...{ port, heard, sockets, closes, marks },
    say: (text: string) => {
      for (const socket of server.clients) socket.send(text);
    },
    down: () => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    },
  };
}

/** Two services, the proxy, and one client that is in, with its second leg. */
async function line(
  options: Partial<ProxyOptions> & {
    second?: boolean;
    /** Who serves at first. */
    primary?: Side;
    autoPong?: boolean;
    /** What the client offers, and what each service takes of it. */
    protocols?: { offered: string[]; legacy: string | false; candidate: string | false };
    /** Fields of the client's handshake. */
    headers?: Record<string, string>;
    isolation?: IsolationMode;
  } = {},
) {
  const { protocols, headers = {}, isolation = 'observe', ...others } = options;
  const [legacy, candidate] = [
    await service(protocols?.legacy),
    await service(protocols?.candidate),
  ];
  const ear = new Ear();
  let decision: Decision = decisionFor('legacy');
  const { second = true, primary = 'legacy', autoPong = true, ...rest } = others;
  const settle = (next: Decision) => {
    decision = next;
  };
  const serve = (primary: Side) =>
    settle({ ...decisionFor(primary), second: second ? beside(primary) : null, isolation });
  serve(primary);
  let change: { left: number; make: () => void } | null = null;
  /** Has `make` change the decision once it was asked for so often. */
  const onceAsked = (left: number, make: () => void) => {
    change = { left, make };
  };
  const front: TestProxy = await proxy({
    legacy: legacy.port,
    candidate: candidate.port,
    routes: [ROUTE],
    decider: () => {
      const decided = { decision, revision: 'test' };
      if (change !== null) change.left -= 1;
      if (change?.left === 0) change.make();
      return decided;
    },
    tap: ear,
    ...rest,
  });
  open.push(front);
  const socket = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, protocols?.offered ?? [], {
    autoPong,
    headers,
  });
  const read: string[] = [];
  let code: number | null = null;
  socket.on('message', data => void read.push(String(data)));
  socket.on('close', ended => {
    code = ended;
  });
  open.push({ close: () => socket.terminate() });
  await until('the client is in', () => socket.readyState === WebSocket.OPEN);
  if (second) {
    const sockets = primary === 'legacy' ? candidate.sockets : legacy.sockets;
    await until('and its second leg', () => sockets.length === 1);
  }
  const moved = () => front.reports.filter(r => r.kind === 'moved');
  const move = async (to: Side) => {
    const before = moved().length;
    serve(to);
    await front.traffic.reconsider();
    await until(`it is served by ${to}`, () => moved().length > before, 15_000);
  };
  return {
    ...{ legacy, candidate, front, ear, socket, read, move, moved, serve, settle, onceAsked },
    code: () => code,
  };
}

test('after a move the other service speaks, and the client notices nothing', async () => {
  const { legacy, candidate, socket, read, move, moved, code } = await line();
  legacy.say(event(1));
  candidate.say(event(1));
  await until('it has the first', () => read.length === 1);
  await move('candidate');
  legacy.say(event(2));
  candidate.say(event(2));
  await until('it has the second', () => read.length === 2);
  socket.send('{"type":"hello"}');
  await until(
    'both hear the client',
    () => legacy.heard.length === 1 && candidate.heard.length === 1,
  );
  await move('legacy');
  legacy.say(event(3));
  candidate.say(event(3));
  await until('it has the third', () => read.length === 3);
  expect(read).toEqual([event(1), event(2), event(3)]);
  expect(moved().map(r => [r.side, r.what])).toEqual([
    ['candidate', 'in-place'],
    ['legacy', 'in-place'],
  ]);
  expect(code()).toBeNull();
  expect([legacy.sockets.length, candidate.sockets.length]).toEqual([1, 1]);
});

describe("where another user's data is kept away", () => {
  const ann = {
    headers: { 'x-user': 'ann' },
    listen: { trustedProxies: ['127.0.0.1'] },
    identity: {
      sources: [{ from: 'header' as const, name: 'X-User' }],
      verify: 'unverified' as const,
    },
  };
  const addressed = (seq: number, to: string) =>
    event(seq).replace('{', `{"recipient_id":"${to}",`);

  test('what was withheld of one service comes from the other', async () => {
    const { legacy, candidate, front, read, move } = await line({ ...ann, isolation: 'block' });
    await move('candidate');
    candidate.say(addressed(1, 'bob'));
    await until('it is withheld', () => front.prevented.length === 1);
    legacy.say(addressed(1, 'ann'));
    await move('legacy');
    await until('it has what legacy sent', () => read.length === 1);
    expect(read).toEqual([addressed(1, 'ann')]);
  });

  test.each([
    ['text that is no JSON', false],
    ['binary data', true],
  ])(
    'what was withheld because nobody can look into it is no reason to doubt what the other one says: %s',
    async (_what, binary) => {
      const routes = [{ ...ROUTE, isolation: { uninspectable: 'block' as const } }];
      const { legacy, candidate, front, read, move } = await line({
        ...{ ...ann, routes, isolation: 'sanitize' },
      });
      await move('candidate');
      const opaque = '42["note",{"recipient_id":"bob"}]';
      for (const socket of candidate.sockets) socket.send(opaque, { binary });
      await until('it is withheld', () => front.uninspected.length === 1);
      await move('legacy');
      legacy.say('a note');
      await until('it has what legacy sent', () => read.length === 1);
      expect(read).toEqual(['a note']);
      expect(front.doubts.map(({ unknown }) => unknown)).toEqual([0, 0]);
    },
  );

  // The fault: what was decided for the candidate went on for legacy, whose outboxes were rewritten.
  test('who takes over for a service that failed is looked at as that side is', async () => {
    const { legacy, candidate, read } = await line({
      ...{ ...ann, isolation: 'sanitize', primary: 'candidate' },
    });
    candidate.say(addressed(1, 'bob'));
    await until('it is put right', () => read.length === 1);
    candidate.sockets[0]?.close(1011);
    await until('it is gone', () => candidate.closes.length === 1);
    legacy.say(addressed(1, 'bob'));
    legacy.say(addressed(2, 'bob'));
    await until('legacy goes on', () => read.length === 2);
    expect(read).toEqual([addressed(1, 'ann'), addressed(2, 'bob')]);
  });

  // The fault: who had just been moved to the candidate had no guard, since by then he was not to be there.
  test('whom the candidate serves against the decision has a guard all the same', async () => {
    const { legacy, candidate, read, front, settle, onceAsked } = await line({
      ...{ ...ann, isolation: 'sanitize' },
    });
    const bypassed = { ...decisionFor('legacy'), otherIsolation: 'sanitize' } as const;
    settle({ ...decisionFor('candidate'), isolation: 'sanitize', second: beside('candidate') });
    // Asked for the move, and when it comes to its end.
    onceAsked(1, () => settle({ ...bypassed, reason: 'bypass' }));
    await front.traffic.reconsider();
    candidate.say(addressed(1, 'bob'));
    legacy.say(addressed(1, 'ann'));
    await until('it has one', () => read.length === 1);
    expect(read).toEqual([addressed(1, 'ann')]);
    expect(front.prevented).toHaveLength(1);
  });

  test('what a handover delivers has passed the guard', async () => {
    const { legacy, candidate, front, read, ear, move } = await line({
      ...{ ...ann, isolation: 'sanitize' },
    });
    candidate.say(addressed(1, 'ann'));
    legacy.say(addressed(1, 'ann'));
    await until('it has the first', () => read.length === 1);
    const before = performance.timeOrigin + performance.now();
    candidate.say(addressed(2, 'bob'));
    await until('it waits', () => ear.streams[0]?.messages('candidate').length === 2);
    await move('candidate');
    const after = performance.timeOrigin + performance.now();
    candidate.say(addressed(3, 'bob'));
    await until('it has all', () => read.length === 3);
    expect(read).toEqual([1, 2, 3].map(seq => addressed(seq, 'ann')));
    // Whoever is told knows which of them waited for the move.
    const [waited, live] = front.prevented;
    expect(waited?.cameAt).toBeGreaterThan(before);
    expect(waited?.cameAt).toBeLessThan(after);
    expect(live).not.toHaveProperty('cameAt');
  });
});

test('what the new primary had sent and the old one had not is delivered, once', async () => {
  const { legacy, candidate, read, ear, move } = await line();
  for (const n of [1, 2, 3, 4]) candidate.say(event(n));
  legacy.say(event(1));
  legacy.say(event(2));
  await until('it has two', () => read.length === 2);
  await until('four are known', () => ear.streams[0]?.messages('candidate').length === 4);
  await move('candidate');
  await until('it has all', () => read.length === 4);
  legacy.say(event(3));
  legacy.say(event(4));
  candidate.say(event(5));
  await until('it has the next', () => read.length === 5);
  expect(read).toEqual([1, 2, 3, 4, 5].map(n => event(n)));
});

test('whom its client was given when is known of a session, with what had waited for the move', async () => {
  const { legacy, candidate, front, ear, read, move } = await line();
  const now = () => performance.timeOrigin + performance.now();
  const later = async () => {
    const from = now();
    await until('it is later', () => now() > from + 3);
  };
  const heard = (side: Side, atMs: number) => {
    const [session] = front.traffic.sessionsOf('events');
    return session !== undefined && wasHeard(session, side, atMs);
  };
  const begin = now();
  for (const { say } of [legacy, candidate]) say(event(1));
  await until('both are known', () => ear.streams[0]?.messages('candidate').length === 1);
  await until('and read', () => read.length === 1);
  const known = now();
  await later();
  candidate.say(event(2));
  await until('it is known', () => ear.streams[0]?.messages('candidate').length === 2);
  const came = now();
  await later();
  await move('candidate');
  await until('it has it', () => read.length === 2);
  await later();
  const sides = (ms: number) => [heard('legacy', ms), heard('candidate', ms)];
  expect([begin, known].map(sides)).toEqual(Array(2).fill([true, false]));
  // Until its client was moved it had legacy's as well.
  expect([sides(came), sides(now())]).toEqual([
    [true, true],
    [false, true],
  ]);
  await move('legacy');
  await later();
  expect([known, came, now()].map(sides)).toEqual([
    [true, false],
    [true, true],
    [true, false],
  ]);
});

test('what the client has already is withheld when the new primary comes to it, once', async () => {
  const { legacy, candidate, read, move } = await line();
  for (const n of [1, 2, 3]) legacy.say(event(n));
  candidate.say(event(1));
  await until('it has three', () => read.length === 3);
  await move('candidate');
  for (const n of [2, 3, 4]) candidate.say(event(n));
  await until('it has the fourth', () => read.length === 4);
  candidate.say(event(3));
  await until('the same again is not ours to judge', () => read.length === 5);
  expect(read).toEqual([1, 2, 3, 4, 3].map(n => event(n)));
});

test('what comes in one read with the end of its last message is not taken for delivered', async () => {
  // The boundary comes as soon as this process has its turn.
  const limits = { boundaryMs: 20_000 };
  const { legacy, candidate, read, serve, front, moved } = await line({ limits });
  const raw = (legacy.sockets[0] as unknown as { _socket: net.Socket })._socket;
  const first = wholeFrame(1, Buffer.from(event(1)));
  raw.write(first.subarray(0, 20));
  candidate.say(event(1));
  const bytes = () =>
    [...front.traffic.counters()].find(({ side }) => side === 'legacy')?.counters.bytesToClient;
  await until('it has the first half', () => bytes() === 20);
  serve('candidate');
  await front.traffic.reconsider();
  raw.write(Buffer.concat([first.subarray(20), wholeFrame(1, Buffer.from(event(2)))]));
  await until('it is served by the candidate', () => moved().length === 1);
  candidate.say(event(2));
  candidate.say(event(3));
  await until('it has the last', () => read.includes(event(3)));
  expect(read).toEqual([event(1), event(2), event(3)]);
});

// The fault: the rest of the message was written to a leg that had been ended, which never drains, and the
// client was not read any more.
test.each(['was let go', 'died'])(
  'a client in the middle of a message is heard on, though the old primary %s',
  async how => {
    const { legacy, candidate, front, socket, move, moved, settle } = await line();
    const raw = (socket as unknown as { _socket: net.Socket })._socket;
    const message = wholeFrame(1, Buffer.from('{"type":"first"}'), Buffer.from([1, 2, 3, 4]));
    raw.write(message.subarray(0, 10));
    const bytes = () =>
      [...front.traffic.counters()].find(({ side }) => side === 'legacy')?.counters.bytesToUpstream;
    await until('the first half has come', () => bytes() === 10);
    if (how === 'died') {
      await move('candidate');
      legacy.down();
      const isOver = () => front.reports.some(({ kind }) => kind === 'second-ended');
      await until('its end is seen', isOver);
    } else {
      settle({ ...decisionFor('candidate'), second: null });
      await front.traffic.reconsider();
      await until('it is served by the candidate', () => moved().length === 1);
    }
    raw.write(message.subarray(10));
    await until('the message is heard', () => candidate.heard.length === 1);
    socket.send('{"type":"second"}');
    await until('so is the next', () => candidate.heard.length === 2);
    expect(candidate.heard).toEqual(['{"type":"first"}', '{"type":"second"}']);
  },
);

// The fault: the rest of the message went to a service that had not had its beginning.
test('a client in the middle of a message is heard by the leg that its session goes on with', async () => {
  const { legacy, candidate, front, socket, moved } = await line({ primary: 'candidate' });
  const raw = (socket as unknown as { _socket: net.Socket })._socket;
  const message = wholeFrame(1, Buffer.from('{"type":"first"}'), Buffer.from([1, 2, 3, 4]));
  raw.write(message.subarray(0, 10));
  const bytes = () =>
    [...front.traffic.counters()].find(({ side }) => side === 'candidate')?.counters
      .bytesToUpstream;
  await until('the first half has come', () => bytes() === 10);
  candidate.sockets[0]?.terminate();
  await until('it goes on', () => moved().length === 1);
  raw.write(message.subarray(10));
  socket.send('{"type":"second"}');
  await until('both are heard', () => legacy.heard.length === 2);
  expect(legacy.heard).toEqual(['{"type":"first"}', '{"type":"second"}']);
});

describe('a message that is too long to be read', () => {
  const long = (n: number) => JSON.stringify({ type: 'doc', n, text: 'x'.repeat(1_500_000) });
  const heard = (ear: Ear, side: Side) => Buffer.concat(ear.streams[0]?.bytesOf[side] ?? []).length;

  // The fault: its client got the rest of it as frames.
  test('comes whole from a leg that is in the middle of it', async () => {
    const { legacy, candidate, read, ear, front, move, code } = await line();
    legacy.say(event(1));
    candidate.say(event(1));
    await until('it has the first', () => read.length === 1);
    const raw = (candidate.sockets[0] as unknown as { _socket: net.Socket })._socket;
    const message = wholeFrame(1, Buffer.from(long(2)));
    raw.write(message.subarray(0, 1_200_000));
    await until('most has come', () => heard(ear, 'candidate') > 1_200_000);
    await move('candidate');
    raw.write(message.subarray(1_200_000));
    candidate.say(event(3));
    await until('it has all', () => read.length === 3);
    expect(read).toEqual([event(1), long(2), event(3)]);
    expect(front.doubts.map(({ unknown }) => unknown)).toEqual([0]);
    expect(code()).toBeNull();
  });

  // The fault: it was lost, and nobody counted it.
  test('is delivered where the new primary has sent it and the old one has not, in doubt', async () => {
    const { candidate, read, ear, front, move } = await line();
    candidate.say(long(1));
    candidate.say(event(2));
    await until('both have come', () => ear.streams[0]?.messages('candidate').length === 2);
    await move('candidate');
    candidate.say(event(3));
    await until('it has all', () => read.length === 3);
    expect(read).toEqual([long(1), event(2), event(3)]);
    expect(front.doubts).toEqual([{ unreplayed: 0, unknown: 1, missing: 0 }]);
  });

  test('that both have sent alike is the same one', async () => {
    const { legacy, candidate, read, ear, front, move } = await line();
    for (const service of [legacy, candidate]) service.say(long(1));
    await until('the client has it', () => read.length === 1);
    await until('both have', () => ear.streams[0]?.messages('candidate').length === 1);
    await move('candidate');
    candidate.say(event(2));
    await until('it has the next', () => read.length === 2);
    expect(read).toEqual([long(1), event(2)]);
    expect(front.doubts).toEqual([{ unreplayed: 0, unknown: 0, missing: 0 }]);
  });

  // The fault: it came twice, and nobody counted it.
  test('comes in doubt where the client has had it of the old primary', async () => {
    const { legacy, candidate, read, front, move } = await line();
    legacy.say(long(1));
    await until('the client has it', () => read.length === 1);
    await move('candidate');
    candidate.say(long(1));
    candidate.say(event(2));
    await until('it has the next', () => read.length === 3);
    expect(read).toEqual([long(1), long(1), event(2)]);
    expect(front.doubts.map(({ unknown }) => unknown)).toEqual([0, 1]);
  });
});

test('an event that the old primary left out earlier is not delivered late, and is counted', async () => {
  const { legacy, candidate, read, front, ear, move } = await line();
  for (const n of [1, 2, 3]) candidate.say(event(n));
  for (const n of [1, 3]) legacy.say(event(n));
  await until('it has two', () => read.length === 2);
  await until('three are known', () => ear.streams[0]?.messages('candidate').length === 3);
  await move('candidate');
  candidate.say(event(4));
  await until('it has the next', () => read.length === 3);
  expect(read).toEqual([1, 3, 4].map(n => event(n)));
  expect(front.doubts).toEqual([{ unreplayed: 0, unknown: 0, missing: 1 }]);
});

test('runs are told apart: what one lacks does not hold up another', async () => {
  const { legacy, candidate, read, ear, move } = await line();
  legacy.say(event(1, 'a'));
  candidate.say(event(1, 'b'));
  candidate.say(event(1, 'a'));
  candidate.say(event(2, 'b'));
  await until('it has one', () => read.length === 1);
  await until('three are known', () => ear.streams[0]?.messages('candidate').length === 3);
  await move('candidate');
  await until('it has all', () => read.length === 3);
  expect(read).toEqual([event(1, 'a'), event(1, 'b'), event(2, 'b')]);
});

test('flips back and forth under traffic: each event once and in order', async () => {
  const { legacy, candidate, read, move } = await line();
  let said = 0;
  // Each in order, now this one behind the other and now that.
  const sides = [
    { service: legacy, upTo: 0, behind: (n: number) => n % 3 },
    { service: candidate, upTo: 0, behind: (n: number) => (n * 2) % 5 },
  ];
  const speak = (isLast = false) => {
    for (const side of sides) {
      const last = said - (isLast ? 0 : side.behind(said));
      for (; side.upTo < last; side.upTo += 1) side.service.say(event(side.upTo + 1));
    }
  };
  const speaking = setInterval(() => {
    said += 1;
    speak();
  }, 2);
  open.push({ close: () => clearInterval(speaking) });
  for (let i = 0; i < 50; i += 1) await move(i % 2 === 0 ? 'candidate' : 'legacy');
  clearInterval(speaking);
  speak(true);
  await until('it has all', () => read.length >= said);
  const numbers = read.map(text => (JSON.parse(text) as { seq: number }).seq);
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: said }, (_, i) => i + 1));
});

describe('a move for which a leg was dialled, and that is called off before it is done,', () => {
  const shadow: SecondLeg = { side: 'candidate', role: 'shadow' };

  async function dialled(routes: ProxyOptions['routes'] = [ROUTE]) {
    const session = await line({ second: false, routes });
    session.settle({ ...decisionFor('candidate'), second: beside('candidate') });
    await session.front.traffic.reconsider();
    await until('a leg is dialled', () => session.candidate.sockets.length === 1);
    await until('it stands beside the other one', () =>
      session.front.traffic.hasLeg('events', 'candidate'),
    );
    return session;
  }

  // The fault: the leg stayed, as one to fall back to, and a legacy that restarted while a rollback held gave its
  // users to the candidate.
  test.each([
    ['by a flag', null],
    ['by a flag, with the candidate beside it as its shadow', shadow],
    ['by a rollback', null],
    ['by a rollback, with the candidate beside it as its shadow', shadow],
  ])('%s, leaves nobody to the candidate when legacy fails', async (how, second) => {
    const { legacy, candidate, front, settle, moved, code } = await dialled();
    settle({ ...decisionFor('legacy'), second });
    if (how.startsWith('by a rollback')) {
      await front.traffic.rollBack(new Set(['events'])).done;
    } else await front.traffic.reconsider();
    if (second === null) await until('the leg is let go', () => candidate.closes.length === 1);
    legacy.sockets[0]?.close(1012);
    await until('the client is told', () => code() !== null);
    expect(code()).toBe(1012);
    expect(moved()).toEqual([]);
  });

  // The fault: whoever had said something meanwhile was taken for one to be left alone, and moved five seconds later.
  test('stays called off for a client that has said something since', async () => {
    const { legacy, candidate, front, socket, read, settle, moved } = await dialled([
      { ...ROUTE, mirror: 'none' },
    ]);
    socket.send('hello');
    await until('it is heard', () => legacy.heard.length === 1);
    settle({ ...decisionFor('legacy'), reason: 'killed' });
    await front.traffic.reconsider();
    await until('the leg is let go', () => candidate.closes.length === 1);
    legacy.say(event(1));
    await until('legacy serves it', () => read.length === 1);
    expect(moved()).toEqual([]);
  });

  test('by a bypass, lets its leg go, and leaves what stood beside it before', async () => {
    const { legacy, candidate, front, read, settle, moved } = await dialled();
    settle({ ...decisionFor('legacy'), reason: 'bypass' });
    await front.traffic.reconsider();
    await until('the leg is let go', () => candidate.closes.length === 1);
    legacy.say(event(1));
    await until('legacy serves it', () => read.length === 1);
    expect(moved()).toEqual([]);
  });
});

// The fault: to the judge it was there still, and all that the other service went on to say was missing there.
test.each([
  ['with one decision', () => undefined],
  [
    'because it fails',
    (candidate: Awaited<ReturnType<typeof line>>['candidate']) =>
      void candidate.sockets[0]?.close(1012),
  ],
] as const)('a primary that is let go %s is over for the judge as well', async (_how, fail) => {
  const { candidate, ear, front, settle, moved } = await line({ primary: 'candidate' });
  // Whoever is first: it is left, or it closes.
  const isOver = () =>
    ear.streams[0]?.notes.some(note => note === 'left candidate' || note === 'close candidate');
  expect(isOver()).toBe(false);
  settle({ ...decisionFor('legacy'), second: null });
  fail(candidate);
  await front.traffic.reconsider();
  await until('legacy serves', () => moved().at(-1)?.side === 'legacy');
  expect(isOver()).toBe(true);
});

// The fault: a client's answer to a ping of the old primary went to the new one, and the old one, now the
// way back, hung up after its 20 s.
test('a ping that the client has not answered before a move is answered for him', async () => {
  const { legacy, candidate, socket, move } = await line({ autoPong: false });
  const answered: string[] = [];
  legacy.sockets[0]?.on('pong', data => answered.push(`legacy ${data}`));
  candidate.sockets[0]?.on('pong', data => answered.push(`candidate ${data}`));
  const pinged = once(socket, 'ping');
  legacy.sockets[0]?.ping('are you there?');
  await pinged;
  await move('candidate');
  await until('it is answered', () => answered.length === 1);
  expect(answered).toEqual(['legacy are you there?']);
  // And from now on each at once, as those of any second leg.
  legacy.sockets[0]?.ping('still?');
  await until('it is answered', () => answered.length === 2);
  expect(answered[1]).toBe('legacy still?');
});

test('a leg that is dialled for a rollback is told the preamble first, and then what follows', async () => {
  const { legacy, candidate, front, socket, serve, moved } = await line({
    ...{ primary: 'candidate', second: false },
    routes: [{ ...ROUTE, mirror: 'none', preamble: ['auth', 'join'] }],
  });
  const preamble = ['{"type":"auth"}', '{"type":"join","room":1}', '{"type":"join","room":2}'];
  for (const text of preamble) socket.send(text);
  await until('it is heard', () => candidate.heard.length === 3);
  const outlook = front.traffic.rollbackOutlook(new Set([ROUTE.name]));
  expect(outlook).toMatchObject({ toDial: 1, notMovable: 0 });
  serve('legacy');
  await front.traffic.rollBack(new Set([ROUTE.name])).done;
  expect(moved().map(({ what }) => what)).toEqual(['redialled']);
  socket.send('{"type":"chat"}');
  await until('legacy hears what follows', () => legacy.heard.length > 3);
  expect(legacy.heard).toEqual([...preamble, '{"type":"chat"}']);
  expect(front.doubts.map(({ unreplayed }) => unreplayed)).toEqual([0]);
});

test.each([
  ['reconnect', 1012],
  ['drain', null],
] as const)('a route whose sessions are to %s moves none in place', async (onSwitch, due) => {
  const { front, legacy, read, serve, moved, code } = await line({
    routes: [{ ...ROUTE, onSwitch }],
  });
  serve('candidate');
  await front.traffic.reconsider();
  if (due !== null) await until('the client is told', () => code() !== null);
  else {
    legacy.say(event(1));
    await until('it is served on', () => read.length === 1);
  }
  expect(code()).toBe(due);
  expect(moved()).toEqual([]);
});

test('a standby that has said its last word is no way back, however long its connection stays', async () => {
  const { front, legacy } = await line({ primary: 'candidate' });
  const warm = () => front.traffic.rollbackOutlook(new Set([ROUTE.name])).warm;
  expect(warm()).toBe(1);
  const raw = (legacy.sockets[0] as unknown as { _socket: net.Socket })._socket;
  // It does not hear the answer, and so does not close.
  raw.pause();
  raw.end();
  await until('it does not count any more', () => warm() === 0);
  expect(raw.destroyed).toBe(false);
});

describe('when the primary fails', () => {
  test.each([1011, 1012, 1013])(
    'by %i, the session goes on with its second leg',
    async closeCode => {
      const { legacy, candidate, read, moved, code, ear } = await line({ primary: 'candidate' });
      candidate.say(event(1));
      legacy.say(event(1));
      legacy.say(event(2));
      await until('it has one', () => read.length === 1);
      await until('two are known', () => ear.streams[0]?.messages('legacy').length === 2);
      candidate.sockets[0]?.close(closeCode, 'sorry');
      await until('it goes on', () => moved().length === 1);
      legacy.say(event(3));
      await until('it has three', () => read.length === 3);
      expect(read).toEqual([1, 2, 3].map(n => event(n)));
      expect(moved()[0]?.what).toBe('failover');
      expect(code()).toBeNull();
    },
  );

  test('by a reset, as well', async () => {
    const { legacy, candidate, read, moved } = await line({ primary: 'candidate' });
    candidate.sockets[0]?.terminate();
    await until('it goes on', () => moved().length === 1);
    legacy.say(event(1));
    await until('it has one', () => read.length === 1);
  });

  test('what its client said to it alone is counted, once, and not said to legacy', async () => {
    const { legacy, candidate, socket, front, read, moved } = await line({
      ...{ primary: 'candidate', routes: [{ ...ROUTE, mirror: 'none' }] },
    });
    for (const text of ['one', 'two']) socket.send(text);
    await until('it is heard', () => candidate.heard.length === 2);
    candidate.sockets[0]?.close(1011);
    await until('it goes on', () => moved().length === 1);
    expect(front.doubts).toEqual([{ unreplayed: 2, unknown: 0, missing: 0 }]);
    socket.send('three');
    await until('legacy hears what follows', () => legacy.heard.length > 0);
    legacy.say(event(1));
    await until('it speaks', () => read.length === 1);
    expect(legacy.heard).toEqual(['three']);
  });

  test('the candidate that only shadows it does not take over: the client is told', async () => {
    const { legacy, code, moved } = await line();
    legacy.sockets[0]?.close(1012);
    await until('the client is told', () => code() !== null);
    expect(code()).toBe(1012);
    expect(moved()).toEqual([]);
  });

  test.each([1000, 1001, 1008, 4001])("%i is the service's word to its client", async closeCode => {
    const { candidate, code, moved } = await line({ primary: 'candidate' });
    candidate.sockets[0]?.close(closeCode);
    await until('the client is told', () => code() !== null);
    expect(code()).toBe(closeCode);
    expect(moved()).toEqual([]);
  });

  test('and the route says so, the client is told', async () => {
    const routes = [{ ...ROUTE, failover: false }];
    const { candidate, code } = await line({ primary: 'candidate', routes });
    candidate.sockets[0]?.close(1011);
    await until('the client is told', () => code() !== null);
    expect(code()).toBe(1011);
  });

  test('and there is no second leg, the client is told', async () => {
    const { legacy, code } = await line({ second: false });
    legacy.sockets[0]?.close(1012);
    await until('the client is told', () => code() !== null);
    expect(code()).toBe(1012);
  });
});

test('a client message that was begun before a move is brought to its end, and both get it once', async () => {
  const { legacy, candidate, socket, move } = await line();
  const big = `{"type":"upload","text":"${'x'.repeat(3_000_00)}"}`;
  socket.send(big.slice(0, 100_000), { fin: false });
  await until('some of it has left', () => socket.bufferedAmount === 0);
  await move('candidate');
  socket.send(big.slice(100_000), { fin: true });
  socket.send('next');
  await until('both have both', () => legacy.heard.length === 2 && candidate.heard.length === 2);
  expect(legacy.heard).toEqual([big, 'next']);
  expect(candidate.heard).toEqual([big, 'next']);
});

test('a target that dies in the middle of it: the session goes on with the service that lives', async () => {
  // Its death is what is to end the wait for the boundary, not the clock.
  const limits = { boundaryMs: 20_000 };
  const { legacy, candidate, front, ear, read, serve, moved, code } = await line({ limits });
  // The primary is inside a message: the move waits for its end.
  const raw = legacy.sockets[0];
  raw?.send('{"type":"step",', { fin: false });
  await until('it has begun', () => ear.streams[0]?.bytesOf.legacy.length === 1);
  serve('candidate');
  await front.traffic.reconsider();
  candidate.down();
  raw?.send('"run_id":"r","seq":1}', { fin: true });
  await until('the message arrives', () => read.length === 1);
  legacy.say(event(2));
  await until('it is still served', () => read.length === 2);
  expect(read).toEqual(['{"type":"step","run_id":"r","seq":1}', event(2)]);
  // Whether its death was seen before or after the change of roles.
  expect(moved().at(-1)?.side ?? 'legacy').toBe('legacy');
  expect(code()).toBeNull();
});

test('a boundary that does not come ends the session, between fragments with 1012', async () => {
  const { legacy, front, ear, serve, code } = await line();
  legacy.sockets[0]?.send('a part', { fin: false });
  await until('it has begun', () => ear.streams[0]?.bytesOf.legacy.length === 1);
  serve('candidate');
  await front.traffic.reconsider();
  await until('the client is told', () => code() !== null);
  expect(code()).toBe(1012);
});

/** The fault: it was cut off as one that has the beginning of a frame, of which the guard had given it nothing. */
test('... and so does one inside a frame that its guard holds', async () => {
  const sources = [{ from: 'header' as const, name: 'X-User' }];
  const { legacy, front, ear, serve, code } = await line({
    ...{ headers: { 'x-user': 'ann' }, listen: { trustedProxies: ['127.0.0.1'] } },
    ...{ identity: { sources, verify: 'unverified' as const }, isolation: 'sanitize' },
  });
  const [socket] = legacy.sockets as unknown as { _socket: net.Socket }[];
  socket?._socket.write(wholeFrame(1, Buffer.from('half of it')).subarray(0, 6));
  await until('it has begun', () => ear.streams[0]?.bytesOf.legacy.length === 1);
  serve('candidate');
  await front.traffic.reconsider();
  await until('the client is told', () => code() !== null);
  expect(code()).toBe(1012);
});

// The fault: 200 were looked at in one go, whatever came of it. With a goodbye for each that took 16 ms and more.
test('a change for many gives way to traffic however long each one of them takes', async () => {
  let turn = 0;
  let isSlow = false;
  const lookedAtIn: number[] = [];
  const { front, candidate, ear } = await line({
    decider: () => {
      if (!isSlow)
        return { decision: { ...decisionFor('legacy'), second: beside('legacy') }, revision: 'a' };
      lookedAtIn.push(turn);
      const end = performance.now() + 2;
      while (performance.now() < end);
      return { decision: decisionFor('legacy'), revision: 'b' };
    },
  });
  for (let more = 0; more < 9; more += 1) {
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}/ws`);
    open.push({ close: () => socket.terminate() });
  }
  const notes = (note: string) => ear.streams.filter(({ notes }) => notes.includes(note)).length;
  await until('all are compared', () => notes('open candidate') === 10);
  isSlow = true;
  const change = front.traffic.reconsider();
  for (let isOver = false; !isOver; turn += 1) {
    isOver = await Promise.race([
      change.then(() => true),
      new Promise<false>(resolve => setImmediate(resolve, false)),
    ]);
  }
  expect(lookedAtIn).toHaveLength(10);
  // The first one at once, which may be in the turn of the second.
  expect(new Set(lookedAtIn).size).toBeGreaterThanOrEqual(9);
  await until('all second legs have left', () => candidate.closes.length === 10);
  expect(new Set(candidate.closes)).toEqual(new Set([1000]));
});

// The fault: any leg that was dialled for a move was called the standby, the candidate's behind legacy as well.
test.each([
  ['legacy', 'candidate', 'shadow'],
  ['candidate', 'legacy', 'standby'],
] as const)(
  'a leg that is dialled beside %s for a move to %s is told of as a %s',
  async (primary, to, role) => {
    const { legacy, candidate, front, serve } = await line({ primary, second: false });
    (to === 'legacy' ? legacy : candidate).down();
    serve(to);
    await front.traffic.reconsider();
    const ended = () => front.reports.find(({ kind }) => kind === 'second-ended');
    expect(await until('it is told of', ended)).toMatchObject({ side: to, role, what: 'failed' });
  },
);

describe('a service that took another subprotocol', () => {
  const protocols = { offered: ['v1', 'v2'], legacy: 'v1', candidate: 'v2' };

  test('is compared, and never speaks to the client: it is told to come again', async () => {
    const { legacy, candidate, socket, front, serve, moved, code } = await line({ protocols });
    expect(socket.protocol).toBe('v1');
    await until('the candidate is there', () => candidate.sockets.length === 1);
    serve('candidate');
    await front.traffic.reconsider();
    await until('it is told', () => code() === 1012);
    expect(moved()).toEqual([]);
    expect(legacy.sockets).toHaveLength(1);
  });

  test('does not take over when the other one fails', async () => {
    const { legacy, candidate, moved, code } = await line({ protocols });
    await until('the candidate is there', () => candidate.sockets.length === 1);
    legacy.sockets[0]?.close(1011);
    await until('it is told', () => code() === 1011);
    expect(moved()).toEqual([]);
  });

  test('and is dialled for the move is found out in time', async () => {
    const { candidate, front, serve, moved, code } = await line({ protocols, second: false });
    serve('candidate');
    await front.traffic.reconsider();
    await until('it is told', () => code() === 1012);
    expect(candidate.sockets).toHaveLength(1);
    expect(moved()).toEqual([]);
  });

  test('... and for a rollback as well, which ends as its tally says', async () => {
    const { legacy, front, serve, moved, code } = await line({
      ...{ protocols, primary: 'candidate', second: false },
    });
    // Nobody knows before it is dialled.
    const outlook = front.traffic.rollbackOutlook(new Set([ROUTE.name]));
    expect(outlook).toMatchObject({ toDial: 1, notMovable: 0 });
    serve('legacy');
    const progress = front.traffic.rollBack(new Set([ROUTE.name]));
    await until('it is told', () => code() === 1012);
    await progress.done;
    expect(progress.sessions).toMatchObject({ affected: 1, closed: 1, redialled: 0, failed: 0 });
    expect(legacy.sockets).toHaveLength(1);
    expect(moved()).toEqual([]);
  });
});

describe('where shadows are marked', () => {
  const routes = [{ ...ROUTE, shadowMark: true }];

  test('a marked leg never serves: another one is dialled, and the old primary gives way to a marked one', async () => {
    const { legacy, candidate, read, move, code } = await line({ routes });
    expect(candidate.marks).toEqual(['shadow']);
    await move('candidate');
    expect(candidate.marks).toEqual(['shadow', null]);
    candidate.sockets[1]?.send(event(1));
    await until('it hears the unmarked one', () => read.length === 1);
    await move('legacy');
    await until('a marked one stands beside it', () => candidate.marks.length === 3, 15_000);
    expect(candidate.marks).toEqual(['shadow', null, 'shadow']);
    legacy.say(event(2));
    await until('legacy speaks', () => read.length === 2);
    expect(code()).toBeNull();
  });
});

// Side by side: what they wait for is the time that a dialled leg has beside the old one.
describe.concurrent('in a time of its own,', () => {
  // The fault: it was the way back for good, and whoever went there got its bytes as they came.
  test('a second leg whose frames can not be followed any more is given up, and dialled anew', async () => {
    const { candidate, front, read, move, code } = await line();
    const raw = (candidate.sockets[0] as unknown as { _socket: net.Socket })._socket;
    raw.write(Buffer.from([0x82, 0x7f, ...Array<number>(8).fill(0xff)]));
    const ends = () => front.reports.filter(({ kind }) => kind === 'second-ended');
    await until('it is given up', () => ends().length === 1);
    expect(ends()[0]?.what).toBe('unframeable');
    await move('candidate');
    candidate.say(event(1));
    await until('another one speaks', () => read.length === 1);
    expect([candidate.sockets.length, code()]).toEqual([2, null]);
  });

  // The fault: a leg that was let go still counted as there. The next move stopped both ends and waited for
  // it, and the client heard nothing any more.
  test('a change of mind before a move is done: the last word counts, and nobody is left between two legs', async () => {
    const { legacy, candidate, front, read, serve } = await line();
    let said = 0;
    const speaking = setInterval(() => {
      said += 1;
      for (const each of [legacy, candidate]) each.say(event(said));
    }, 2);
    open.push({ close: () => clearInterval(speaking) });
    for (let i = 0; i < 500; i += 1) {
      serve(i % 2 === 0 ? 'candidate' : 'legacy');
      void front.traffic.reconsider();
      // In every phase of the move before it.
      for (let turn = 0; turn < i % 7; turn += 1)
        await new Promise(resolve => setImmediate(resolve));
    }
    clearInterval(speaking);
    await until('it has all', () => read.length >= said);
    expect(read.map(text => (JSON.parse(text) as { seq: number }).seq)).toEqual(
      Array.from({ length: said }, (_, i) => i + 1),
    );
  });

  // The faults: a move that nobody wanted any more was carried out; and a client that spoke while both legs stood
  // beside each other was taken away from the only service that had heard it.
  test('before a dialled leg speaks it is asked again whether it is to, and whether its client can go', async () => {
    const routes = [{ ...ROUTE, mirror: 'none' as const }];
    const sessions = await Promise.all([
      line({ second: false, routes }),
      line({ second: false, routes }),
      line({ second: false, routes }),
    ]);
    for (const { serve, front } of sessions) {
      serve('candidate');
      await front.traffic.reconsider();
    }
    await until('a leg is dialled for each', () =>
      sessions.every(({ candidate }) => candidate.sockets.length === 1),
    );
    const [unwanted, asking, goes] = sessions;
    // Nobody tells the lane.
    unwanted?.settle({ ...decisionFor('legacy'), reason: 'bypass' });
    asking?.socket.send('what time is it?');
    await until('the question is heard', () => asking?.legacy.heard.length === 1);
    await until('the last one has moved', () => goes?.moved().length === 1, 15_000);
    await until('the legs of the others are let go', () =>
      [unwanted, asking].every(each => each?.candidate.closes.length === 1),
    );
    for (const each of [unwanted, asking]) {
      each?.legacy.say('noon');
      await until('it has the answer', () => each?.read.length === 1);
      expect(each?.moved()).toEqual([]);
      expect(each?.front.doubts).toEqual([]);
    }
  });

  // The fault: the second change cut the time short in which what was on its way comes.
  test('two changes of flags in a row give a dialled leg the same time beside the old one as one', async () => {
    const { legacy, candidate, front, read, serve, moved } = await line({ second: false });
    serve('candidate');
    await front.traffic.reconsider();
    await until('a leg is dialled', () => front.traffic.hasLeg('events', 'candidate'));
    await front.traffic.reconsider();
    expect(moved()).toEqual([]);
    legacy.say(event(1));
    await until('legacy serves it still', () => read.length === 1);
    candidate.say(event(1));
    await until('it has moved', () => moved().length === 1, 15_000);
    candidate.say(event(2));
    await until('the candidate serves it', () => read.length === 2);
    expect(read).toEqual([event(1), event(2)]);
  });

  test('a second leg that was given up is dialled anew when it is to serve', async () => {
    const { legacy, candidate, front, read, serve, settle, moved } = await line();
    settle({ ...decisionFor('legacy'), second: null });
    await front.traffic.reconsider();
    await until('it is given up', () => candidate.closes.length === 1);
    serve('candidate');
    await front.traffic.reconsider();
    await until('it is served by the candidate', () => moved().length === 1, 15_000);
    for (const each of [legacy, candidate]) each.say(event(1));
    await until('it has one', () => read.length === 1);
    // And back again, with the old one given up in the meantime.
    settle({ ...decisionFor('candidate'), second: null });
    await front.traffic.reconsider();
    await until('the old one is given up', () => legacy.closes.length === 1);
    serve('legacy');
    await front.traffic.reconsider();
    await until('it is served by legacy', () => moved().length === 2, 15_000);
    for (const each of [legacy, candidate]) each.say(event(2));
    await until('it has two', () => read.length === 2);
    expect(read).toEqual([event(1), event(2)]);
  });

  test('a session without a second leg is moved by one that is dialled for it', async () => {
    const { legacy, candidate, front, read, serve, moved } = await line({ second: false });
    legacy.say(event(1));
    await until('it has one', () => read.length === 1);
    serve('candidate');
    await front.traffic.reconsider();
    await until('a leg is dialled', () => candidate.sockets.length === 1);
    legacy.say(event(2));
    candidate.say(event(2));
    await until('it has moved', () => moved().length === 1, 15_000);
    expect(read).toEqual([1, 2].map(n => event(n)));
    candidate.say(event(3));
    await until('it has three', () => read.length === 3);
    expect(read).toEqual([1, 2, 3].map(n => event(n)));
    expect(moved()[0]?.what).toBe('redialled');
    await until('the old leg is told goodbye', () => legacy.closes.length === 1);
    expect(legacy.closes).toEqual([1000]);
  });

  test('a session that is to drain is told to reconnect once its time is over, unless it is back by then', async () => {
    const { front, serve, code } = await line({
      routes: [{ ...ROUTE, onSwitch: 'drain' }],
      limits: { leaveMs: 1_500 },
    });
    const at = performance.now();
    serve('candidate');
    await front.traffic.reconsider();
    serve('legacy');
    await front.traffic.reconsider();
    serve('candidate');
    await until('it could have been told', () => performance.now() > at + 500);
    await front.traffic.reconsider();
    await until('it is told', () => code() !== null);
    expect(code()).toBe(1012);
    expect(performance.now() - at).toBeGreaterThan(2_000);
  });
});
