import { randomBytes } from 'node:crypto';
import { subscribe } from 'node:diagnostics_channel';
import type net from 'node:net';
import { describe, expect, test } from 'vitest';
import { closeFrame, controlFrame, wholeFrame } from '../../src/wire/frames.ts';
import { openedByTest } from '../support/opened.ts';
import { type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import {
  type RawEnd,
  type RawServer,
  rawClient,
  rawServer,
  upgradeRequest,
} from '../support/raw.ts';
import { until } from '../support/until.ts';

const open = openedByTest();

/** All that were accepted in this file, the proxy's connections to clients among them. */
const accepted: net.Socket[] = [];
subscribe('net.server.socket', message => {
  accepted.push((message as { socket: net.Socket }).socket);
});
/** The proxy's end of a client's connection: connections to other places may begin at the same port. */
const towards = ({ socket }: RawEnd) =>
  accepted.find(
    ({ localPort, remotePort }) =>
      remotePort === socket.localPort && localPort === socket.remotePort,
  );

interface Line {
  service: RawServer;
  front: TestProxy;
  /** Both ends of one open session, with nothing received yet. */
  client: RawEnd;
  upstream: RawEnd;
}

async function session(options: Partial<ProxyOptions> = {}, path = '/ws'): Promise<Line> {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port, ...options });
  const client = await rawClient(front.port);
  open.push(service, front, { close: () => client.socket.destroy() });
  client.write(upgradeRequest(path));
  const upstream = await service.next();
  await upstream.accept();
  await client.has('\r\n\r\n');
  client.received = Buffer.alloc(0);
  return { service, front, client, upstream };
}

const ended = (front: TestProxy) =>
  until('the end is reported', () => front.reports.find(r => r.kind === 'closed'));

test('bytes pass as they are, in both directions, whatever they are', async () => {
  const { client, upstream } = await session();
  // Reserved bits, unknown opcodes, unmasked client frames: the ends judge them, not the proxy.
  const down = Buffer.concat([controlFrame(9, Buffer.from('ping')), randomBytes(300_000)]);
  const up = Buffer.concat([controlFrame(10, Buffer.from('pong')), randomBytes(300_000)]);
  upstream.write(down);
  client.write(up);
  await until('all has come down', () => client.received.length >= down.length);
  await until('all has gone up', () => upstream.received.length >= up.length);
  expect(client.received.equals(down)).toBe(true);
  expect(upstream.received.equals(up)).toBe(true);
});

test.each([
  ['no code', Buffer.from([0x88, 0])],
  ['half a code', Buffer.from([0x88, 1, 3])],
  ['1005, which is never on the wire', closeFrame(1005, 'x')],
  ['1006, which is never on the wire', closeFrame(1006, 'x')],
  ['1004, which is reserved', closeFrame(1004, 'x')],
  ['1012', closeFrame(1012, 'x')],
  ['1013', closeFrame(1013, 'x')],
  ['1014', closeFrame(1014, 'x')],
  ['1015, which is never on the wire', closeFrame(1015, 'x')],
  ['999', closeFrame(999, 'x')],
  ['a reason that is no UTF-8', Buffer.from([0x88, 4, 3, 0xe8, 0xc3, 0x28])],
])(
  '38: a close of the service with %s reaches the client byte by byte, and nothing else',
  async (_what, bytes) => {
    const { client, upstream } = await session();
    upstream.write(bytes);
    await until('the close comes', () => client.received.length >= bytes.length);
    upstream.socket.end();
    await until('the client sees the end', () => client.ended);
    expect(client.received).toEqual(bytes);
  },
);

test.each([1000, 1001, 1008, 1011, 3000, 4999])(
  '38: close code %i passes both ways and is reported',
  async code => {
    const { client, upstream, front } = await session();
    const fromService = closeFrame(code, 'bye');
    upstream.write(fromService);
    await until('the close comes', () => client.received.equals(fromService));
    const answer = closeFrame(code, '', Buffer.from('mask'));
    client.write(answer);
    await until('the answer comes', () => upstream.received.equals(answer));
    upstream.socket.end();
    await until('the client sees the end', () => client.ended);
    client.socket.end();
    expect(await ended(front)).toMatchObject({ what: 'closed-by-upstream', code });
  },
);

test('a service that resets is the end for its client, after everything that it had sent', async () => {
  const { client, upstream, front } = await session();
  const frame = controlFrame(2, Buffer.from('last words'));
  upstream.write(frame);
  await until('it has arrived', () => client.received.equals(frame));
  upstream.socket.resetAndDestroy();
  await until('the client sees the end', () => client.ended || client.closed);
  client.socket.end();
  expect(await ended(front)).toMatchObject({ what: 'upstream-lost', code: 1006 });
});

test('a client that resets is let go at once, and so is its leg', async () => {
  const { client, upstream, front } = await session();
  client.socket.resetAndDestroy();
  await until('the service sees the end', () => upstream.ended || upstream.closed);
  upstream.socket.end();
  expect(await ended(front)).toMatchObject({ what: 'client-lost', code: 1006 });
});

/**
 * The fault: client and service closed in one turn of the loop, each close found both closed, and
 * the session was counted out twice: after some hundred visits fewer than no sessions were open.
 */
test('a session ends once, even if both of its sockets close at the same moment', async () => {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port });
  open.push(service, front);
  for (let i = 0; i < 30; i += 1) {
    const client = await rawClient(front.port);
    client.write(upgradeRequest());
    const upstream = await service.next();
    await upstream.accept();
    await client.has('101');
    client.socket.end(closeFrame(1000, '', Buffer.from('mask')));
    upstream.socket.end(closeFrame(1000));
  }
  const ends = () => front.reports.filter(r => r.kind === 'closed').length;
  await until('all have ended', () => ends() >= 30);
  await until('nothing is left', () => service.connections.every(c => c.closed));
  expect(ends()).toBe(30);
  expect([...front.traffic.counters()].map(c => c.counters.sessionsOpen)).toEqual([0, 0]);
});

test('a half-closed client still gets what the service has to say', async () => {
  const { client, upstream } = await session();
  client.socket.end();
  await until('the service sees the end', () => upstream.ended);
  upstream.write('still talking');
  await client.has('still talking');
  upstream.socket.end();
  await until('the client sees the end', () => client.ended);
});

// From here on side by side: what they wait for is the time that a client, or a service, is given.
describe.concurrent.each(['/ws', '/elsewhere'])('after one side has said goodbye, on %s,', path => {
  /** One whose client has gone too, and whose service does not follow: when it is let go, closeMs is over. */
  async function left({ service, front }: Line) {
    const client = await rawClient(front.port);
    open.push({ close: () => client.socket.destroy() });
    client.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.accept();
    await client.has('\r\n\r\n');
    client.socket.end(closeFrame(1000, '', Buffer.from('mask')));
    return client;
  }

  /** The fault: what passed did not count, and a service that had something left to say was cut off in it. */
  test('the other one says what it has left, however long after closeMs', async () => {
    const line = await session({ limits: { closeMs: 200 } }, path);
    const { client, upstream } = line;
    client.socket.end(closeFrame(1000, '', Buffer.from('mask')));
    const idle = await left(line);
    const message = wholeFrame(1, Buffer.from('something'));
    let said = 0;
    let due = 0;
    await until('closeMs is over', () => {
      // Every now and then.
      if (performance.now() >= due && upstream.socket.writable) {
        due = performance.now() + 50;
        upstream.write(message);
        said += 1;
      }
      return idle.ended || idle.closed;
    });
    const bye = closeFrame(1000);
    upstream.socket.end(bye);
    await until('the end comes', () => client.ended || client.closed);
    expect(client.received.length).toBe(said * message.length + bye.length);
    expect(client.received.subarray(-4)).toEqual(bye);
  });

  /** The fault: the proxy took what the kernel had for what the client had. His next word was answered by a reset. */
  test('a client who reads slowly gets all of it, though he speaks after closeMs', async () => {
    const line = await session({ limits: { closeMs: 200 } }, path);
    const { client, upstream } = line;
    client.socket.pause();
    const all = Buffer.concat([wholeFrame(2, Buffer.alloc(1_500_000)), closeFrame(1000)]);
    upstream.socket.end(all);
    await until('all has gone out', () => upstream.socket.writableLength === 0);
    const idle = await left(line);
    await until('closeMs is over', () => idle.ended || idle.closed);
    client.write(controlFrame(9, Buffer.from('p')));
    await until('it is on its way', () => client.socket.writableLength === 0);
    client.socket.resume();
    await until('the end comes', () => client.ended || client.closed);
    expect(client.received.length).toBe(all.length);
  });
});

describe.concurrent('a drain', () => {
  test('closes between messages with 1012, and the answer to it reaches the service', async () => {
    const { client, upstream, front } = await session();
    const drained = front.traffic.drain(50);
    await until('the close comes', () =>
      client.received.equals(closeFrame(1012, 'service restart')),
    );
    const answer = closeFrame(1012, '', Buffer.from('mask'));
    client.write(answer);
    await until('the answer goes on', () => upstream.received.equals(answer));
    upstream.socket.end();
    await until('the client sees the end', () => client.ended);
    client.socket.end();
    await drained;
    expect(await ended(front)).toMatchObject({ what: 'ended-by-proxy', code: 1012 });
  });

  test('lets a message that is under way come to its end first', async () => {
    const { client, upstream, front } = await session({ limits: { boundaryMs: 10_000 } });
    const message = controlFrame(1, Buffer.from('a whole message'));
    upstream.write(message.subarray(0, 5));
    await until('a part is there', () => client.received.length === 5);
    // Of one session within 20 ms it is told at once.
    void front.traffic.drain(20);
    await until('nobody new is let in', () => front.traffic.draining);
    upstream.write(Buffer.concat([message.subarray(5), controlFrame(1, Buffer.from('too late'))]));
    const expected = Buffer.concat([message, closeFrame(1012, 'service restart')]);
    await until('message and close come', () => client.received.length >= expected.length);
    expect(client.received).toEqual(expected);
  });

  test('closes between two fragments when the message does not end in time', async () => {
    const { client, upstream, front } = await session({ limits: { boundaryMs: 50 } });
    const fragment = Buffer.from([0x01, 3, 0x61, 0x62, 0x63]);
    upstream.write(fragment);
    await until('the fragment is there', () => client.received.equals(fragment));
    void front.traffic.drain(20);
    const expected = Buffer.concat([fragment, closeFrame(1012, 'service restart')]);
    await until('the close comes', () => client.received.equals(expected));
  });

  // The fault: only the service ended the connection, and nobody comes again before his old one is over.
  describe('whose service neither speaks nor ends', () => {
    const mask = Buffer.from('mask');
    const close = closeFrame(1012, 'service restart');

    test.each([
      ['answers', closeFrame(1012, '', mask)],
      ['ends its side', Buffer.alloc(0)],
    ])('ends the connection once its client %s', async (_what, answer) => {
      const { client, upstream, front } = await session({ limits: { closeMs: 60_000 } });
      void front.traffic.drain(20);
      await until('the close comes', () => client.received.equals(close));
      if (answer.length > 0) client.write(answer);
      else client.socket.end();
      await until('the client sees the end', () => client.ended);
      expect(client.received).toEqual(close);
      client.socket.end();
      await until('the service hears of it', () => upstream.ended);
      expect(upstream.received).toEqual(answer);
    });

    test.each([
      ['said goodbye', closeFrame(1000, '', mask)],
      ['ended its side', Buffer.alloc(0)],
    ])('ends the connection with the close if its client has %s before', async (_what, bye) => {
      const limits = { closeMs: 60_000, boundaryMs: 1_000 };
      const { client, upstream, front } = await session({ limits });
      const fragment = Buffer.from([0x01, 3, 0x61, 0x62, 0x63]);
      upstream.write(fragment);
      await until('the fragment is there', () => client.received.equals(fragment));
      void front.traffic.drain(20);
      await until('the close waits', () => front.traffic.draining);
      client.socket.end(bye);
      await until('the client sees the end', () => client.ended);
      expect(client.received).toEqual(Buffer.concat([fragment, close]));
    });

    // The fault: what was said before the answer waited for the service, and it was not found for stallMs.
    test('finds the answer behind what its service does not take', async () => {
      const { client, upstream, front } = await session({ limits: { closeMs: 100 } });
      upstream.socket.pause();
      // More than the system holds on the way.
      const megabyte = wholeFrame(2, Buffer.alloc(1_048_576), mask);
      for (let i = 0; i < 24; i += 1) client.write(megabyte);
      void front.traffic.drain(20);
      await until('the close comes', () => client.received.equals(close));
      client.write(closeFrame(1012, '', mask));
      await until('the client sees the end', () => client.ended);
    });
  });

  test('cuts the connection when a frame does not end in time', async () => {
    const { client, upstream, front } = await session({ limits: { boundaryMs: 50 } });
    const half = controlFrame(1, Buffer.from('half of it')).subarray(0, 6);
    upstream.write(half);
    await until('the half is there', () => client.received.equals(half));
    void front.traffic.drain(20);
    await until('the client is cut off', () => client.ended || client.closed);
    expect(client.received).toEqual(half);
  });

  test('spreads the closes over its window, and tells newcomers to come again', async () => {
    const service = await rawServer();
    const front = await proxy({ legacy: service.port });
    open.push(service, front);
    const clients = [];
    for (let i = 0; i < 20; i += 1) {
      const client = await rawClient(front.port);
      open.push({ close: () => client.socket.destroy() });
      client.write(upgradeRequest());
      await (await service.next()).accept();
      await client.has('101');
      clients.push(client);
    }
    const late = await rawClient(front.port);
    open.push({ close: () => late.socket.destroy() });
    const startedAt = performance.now();
    const closedAt: number[] = [];
    for (const client of clients)
      client.socket.once('data', () => closedAt.push(performance.now() - startedAt));
    void front.traffic.drain(2_000);
    late.write(upgradeRequest());
    await (await service.next()).accept();
    await until('all are told', () => closedAt.length === 20);
    expect(closedAt[19]).toBeGreaterThan(1_500);
    // However late the first ones are by then, the last one does not come with them.
    expect((closedAt[19] ?? 0) - (closedAt[4] ?? 0)).toBeGreaterThan(300);
    await late.has(closeFrame(1012, 'service restart').toString('latin1'));
  });
});

describe.concurrent('in the end', () => {
  /** The fault: `closeMs` went by while bytes still waited for a slow client, who lost the end of them. */
  test('43: a slow client gets everything that came before the end, and the end, after closeMs as well', async () => {
    const getsAll = async (path: string) => {
      const { client, upstream, service, front } = await session(
        { limits: { closeMs: 200 } },
        path,
      );
      // One for whom nothing waits, and who does not follow either.
      const idle = await rawClient(front.port);
      open.push({ close: () => idle.socket.destroy() });
      idle.write(upgradeRequest(path));
      const itsService = await service.next();
      await itsService.accept();
      await idle.has('\r\n\r\n');
      const [held, idleOne] = [towards(client), towards(idle)];
      client.socket.pause();
      const before = upstream.socket.bytesWritten;
      // As much as the kernel takes for him, and something for the proxy to keep.
      while (held?.writableLength === 0) {
        upstream.write(wholeFrame(2, Buffer.alloc(16_384)));
        for (let turns = 0; turns < 3; turns += 1) await new Promise(setImmediate);
      }
      upstream.socket.end(closeFrame(1000));
      await until('all has gone out', () => upstream.socket.writableLength === 0);
      itsService.socket.end(closeFrame(1000));
      await until('closeMs is over, for both', () => idleOne?.destroyed);
      client.socket.resume();
      await until('the end comes', () => client.ended || client.closed);
      expect(client.received.length).toBe(upstream.socket.bytesWritten - before);
      expect(client.received.subarray(-4)).toEqual(closeFrame(1000));
    };
    // Routed and not.
    await Promise.all(['/ws', '/elsewhere'].map(getsAll));
  });

  test('an end that the other side does not follow is given up after closeMs', async () => {
    const { client, front } = await session({ limits: { closeMs: 200 } });
    client.socket.end();
    expect(await ended(front)).toMatchObject({ what: 'client-lost' });
    expect([...front.traffic.sessionsOf('events')]).toHaveLength(0);
  });

  test.each([
    ['a service that goes on after its client has said goodbye', 1_000],
    ['a client that goes on after the proxy has', 120_000],
  ])('%s is not heard for ever', async (_who, stallMs) => {
    const { client, upstream, front } = await session({ limits: { closeMs: 200, stallMs } });
    const mask = Buffer.from('mask');
    const isService = stallMs === 1_000;
    if (isService) client.write(closeFrame(1000, '', mask));
    else void front.traffic.drain(20);
    const speaker = isService ? upstream : client;
    const message = wholeFrame(1, Buffer.from('and on'), isService ? undefined : mask);
    speaker.socket.on('error', () => undefined);
    let due = 0;
    await until('the session is over', () => {
      if (performance.now() >= due && speaker.socket.writable) {
        due = performance.now() + 50;
        speaker.write(message);
      }
      return client.closed || client.ended;
    });
    expect(speaker.socket.bytesWritten).toBeGreaterThan(10 * message.length);
  });

  /**
   * The fault: Node says that a write was taken when the kernel has all of it, which asks for more only when it
   * has sent a megabyte or so. Whoever took less than that in stallMs was gone, though he never paused.
   */
  test('a slow client who takes a little all the time is not gone after stallMs; one that takes nothing is', async () => {
    const { client, upstream, service, front } = await session({ limits: { stallMs: 900 } });
    let taken = 0;
    client.socket.removeAllListeners('data').on('data', bytes => {
      taken += bytes.length;
      client.socket.pause();
      setTimeout(() => client.socket.resume(), 200);
    });
    const pourInto = (end: RawEnd) => {
      const pour = () => {
        while (end.socket.write(Buffer.alloc(65_536)));
      };
      end.socket.on('drain', pour);
      pour();
    };
    pourInto(upstream);
    // One behind the other.
    for (const gone of [1, 2]) {
      const deaf = await rawClient(front.port);
      open.push({ close: () => deaf.socket.destroy() });
      deaf.write(upgradeRequest());
      const itsService = await service.next();
      await itsService.accept();
      await deaf.has('\r\n\r\n');
      deaf.socket.pause();
      pourInto(itsService);
      await until('the deaf one is gone', () => itsService.closed);
      expect(front.reports.filter(({ kind }) => kind === 'closed')).toHaveLength(gone);
      const before = taken;
      await until('the slow one reads on', () => taken > before);
    }
    expect(upstream.closed).toBe(false);
  }, 40_000);

  test('a client that takes nothing for stallMs while bytes wait is gone', async () => {
    const { client, upstream, front } = await session({ limits: { stallMs: 300 } });
    client.socket.pause();
    const pump = () => {
      while (upstream.socket.write(Buffer.alloc(65_536)));
    };
    upstream.socket.on('drain', pump);
    pump();
    expect(await ended(front)).toMatchObject({ what: 'client-stalled' });
    await until('the service is let go', () => upstream.closed || upstream.ended);
  });
});
