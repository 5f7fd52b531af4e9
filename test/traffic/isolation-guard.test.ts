// What the lanes' guards do about another user's data: put right or withheld before it is delivered, while
// everything else passes as it came.
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { IsolationWatch } from '../../src/ports.ts';
import type { IsolationMode } from '../../src/rules/decide.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import { Isolation as Compiled, DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { EventGuard } from '../../src/traffic/event-guard.ts';
import { HeldRoom } from '../../src/traffic/held-room.ts';
import { IsolationGuard } from '../../src/traffic/isolation-guard.ts';
import { closeFrame, controlFrame, OPCODE } from '../../src/wire/frames.ts';
import { Ear } from '../support/ear.ts';
import { clientFrame, frame } from '../support/frame.ts';
import { answer, asked, closeAll, closing, connected, get, withService } from '../support/lane.ts';
import { onTheWay } from '../support/on-the-way.ts';
import { decisionFor, type ProxyOptions } from '../support/proxy.ts';
import { type RawEnd, rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

const { text: TEXT, binary: BINARY, continuation: MORE } = OPCODE;
const IDENTITY: ProxyOptions['identity'] = {
  sources: [{ from: 'header', name: 'X-User' }],
  verify: 'unverified',
};

const ANN = 'X-User: ann\r\n';

type Isolation = Partial<NonNullable<NonNullable<ProxyOptions['routes']>[number]['isolation']>>;

function guarded(mode: IsolationMode, isolation: Isolation = {}): Partial<ProxyOptions> {
  return {
    identity: IDENTITY,
    listen: { trustedProxies: ['127.0.0.1'] },
    decider: () => ({
      decision: { ...decisionFor('legacy'), isolation: mode },
      revision: 'test',
    }),
    routes: [
      { name: 'events', path: '/ws', protocol: 'websocket', isolation },
      { name: 'sse', path: '/events', protocol: 'sse', isolation },
      { name: 'api', path: '/api/*', protocol: 'http', isolation },
    ],
  };
}

async function session(mode: IsolationMode, isolation: Isolation = {}, fields = ANN, more = {}) {
  const { service, front } = await withService({ ...guarded(mode, isolation), ...more });
  const client = await rawClient(front.port);
  closing({ close: () => client.socket.destroy() });
  client.write(upgradeRequest('/ws', fields));
  const upstream = await service.next();
  await upstream.accept();
  await client.has('\r\n\r\n');
  client.received = Buffer.alloc(0);
  return { front, client, upstream };
}

const message = (payload: string | Uint8Array) => frame(TEXT, { payload });
const ANNS = message('{"type":"a","recipient_id":"ann","n":1}');
const BOBS = message('{"type":"a","recipient_id":"bob","n":9007199254740993}');
const MENDED = message('{"type":"a","recipient_id":"ann","n":9007199254740993}');
const LAST = message('{"type":"last"}');
const PING = controlFrame(OPCODE.ping, Buffer.from('p'));
const fragments = (payload: string, ...between: Buffer[]) => {
  const half = payload.length >> 1;
  return Buffer.concat([
    frame(TEXT, { payload: payload.slice(0, half), fin: false }),
    ...between,
    frame(MORE, { payload: payload.slice(half) }),
  ]);
};
const LONG = `{"recipient_id":"bob","x":"${'x'.repeat(1_200_000)}"}`;

/** What a service sends, and what the client gets in each mode; `LAST` follows. */
const STREAMS: Record<string, { sent: Buffer; sanitize: Buffer; block: Buffer; events: number }> = {
  'an event of his own': { sent: ANNS, sanitize: ANNS, block: ANNS, events: 0 },
  'a ping': { sent: PING, sanitize: PING, block: PING, events: 0 },
  'an event of somebody else': { sent: BOBS, sanitize: MENDED, block: Buffer.alloc(0), events: 1 },
  'one between two of his own': {
    sent: Buffer.concat([ANNS, BOBS, ANNS]),
    sanitize: Buffer.concat([ANNS, MENDED, ANNS]),
    block: Buffer.concat([ANNS, ANNS]),
    events: 1,
  },
  'an escaped key': {
    sent: message('{"target\\u005fuser_id":"bob"}'),
    sanitize: message('{"target\\u005fuser_id":"ann"}'),
    block: Buffer.alloc(0),
    events: 1,
  },
  'fragments that cut the key in two, with a ping between': {
    sent: fragments('{"a":1,"recipient_id":"bob"}', PING),
    sanitize: Buffer.concat([PING, message('{"a":1,"recipient_id":"ann"}')]),
    block: PING,
    events: 1,
  },
  'clean fragments, which stay fragments, behind the ping that was between': {
    sent: fragments('{"a":1,"recipient_id":"ann"}', PING),
    sanitize: Buffer.concat([PING, fragments('{"a":1,"recipient_id":"ann"}')]),
    block: Buffer.concat([PING, fragments('{"a":1,"recipient_id":"ann"}')]),
    events: 0,
  },
  'JSON in a binary message': {
    sent: frame(BINARY, { payload: '{"userId":"bob"}' }),
    sanitize: frame(BINARY, { payload: '{"userId":"ann"}' }),
    block: Buffer.alloc(0),
    events: 1,
  },
  'an event of somebody else with a byte that is no UTF-8': {
    sent: message(Buffer.from('{"n":"\xff","recipient_id":"bob"}', 'latin1')),
    sanitize: message(Buffer.from('{"n":"\xff","recipient_id":"ann"}', 'latin1')),
    block: Buffer.alloc(0),
    events: 1,
  },
  'a list with him and others': {
    sent: message('{"recipient_id":["bob","ann"]}'),
    sanitize: message('{"recipient_id":["ann"]}'),
    block: message('{"recipient_id":["bob","ann"]}'),
    events: 0,
  },
  'a list without him': {
    sent: message('{"recipient_id":["bob","eve"]}'),
    sanitize: message('{"recipient_id":["ann"]}'),
    block: Buffer.alloc(0),
    events: 1,
  },
};

describe.each(['whole', 'byte by byte'])('%s', how => {
  test.each(
    Object.entries(STREAMS).flatMap(([name, stream]) =>
      (['sanitize', 'block'] as const).map(mode => ({ name, mode, ...stream, due: stream[mode] })),
    ),
  )('$mode, $name', async ({ mode, sent, due, events }) => {
    const { front, client, upstream } = await session(mode);
    const all = Buffer.concat([sent, LAST]);
    if (how === 'whole') upstream.write(all);
    else for (const byte of all) upstream.write(Buffer.from([byte]));
    const expected = Buffer.concat([due, LAST]);
    await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
    expect(client.received).toEqual(expected);
    expect(front.prevented).toHaveLength(events);
  });
});

test('what was prevented is told with field, type and outcome', async () => {
  const { front, upstream } = await session('block');
  upstream.write(BOBS);
  await until('it is told', () => front.prevented.length > 0);
  expect(front.prevented[0]).toEqual({
    ...{ route: 'events', side: 'legacy', session: expect.any(String) },
    subject: { id: 'ann', aliases: [] },
    ...{ path: '/recipient_id', eventType: 'a', owner: 'bob' },
    ...{ outcome: 'blocked', compared: false },
  });
});

// The fault: as in the judge's own word, which may not come.
test('... and with whose it is, however that is written, where it names him alone', async () => {
  const { front, upstream } = await session('sanitize');
  const named = ['["bob"]', '{"id":"bob"}', '42.0', '["bob","carl"]'];
  for (const json of named) upstream.write(message(`{"userId":${json}}`));
  await until('all are told', () => front.prevented.length === named.length);
  expect(front.prevented.map(({ owner }) => owner)).toEqual(['bob', 'bob', '42', null]);
  upstream.write(message('{"type":"to:bob","userId":["bob","carl"]}'));
  await until('it is told', () => front.prevented.length > named.length);
  expect(front.prevented.at(-1)).toMatchObject({ owner: null, names: ['bob'] });
});

describe('beside a second leg', () => {
  async function compared() {
    const ear = new Ear();
    const decision = { ...decisionFor('legacy'), isolation: 'block' as const };
    const second = { side: 'candidate', role: 'shadow' } as const;
    const { service, front } = await withService({
      ...guarded('block'),
      tap: ear,
      decider: () => ({ decision: { ...decision, second }, revision: 'test' }),
    });
    const client = await rawClient(front.port);
    closing({ close: () => client.socket.destroy() });
    client.write(upgradeRequest('/ws', ANN));
    const legs = [await service.next(), await service.next()];
    for (const leg of legs) await leg.accept();
    await client.has('\r\n\r\n');
    const heard = () => ear.streams[0]?.notes ?? [];
    await until('both are heard', () => heard().length === 2);
    return { ear, heard, front, client, legs };
  }

  test('it is told whether the judge has a copy of what was prevented, and tells of it as well', async () => {
    const { ear, front, legs } = await compared();
    const say = async (times: number) => {
      for (const leg of legs) leg.write(BOBS);
      await until('it is told', () => front.prevented.length === times);
    };
    await say(1);
    for (const stream of ear.streams) stream.isDeaf = true;
    await say(2);
    expect(front.prevented.map(({ compared }) => compared)).toEqual([true, false]);
  });

  test('the judge is told what a client says: what repeats it is not at once a leak', async () => {
    const { heard, client } = await compared();
    const said = (payload: string) => client.write(clientFrame(TEXT, { payload }));
    said('{"type":"chat","text":"hello"}');
    said('{"type":"chat","text":{"userId":"bob"}}');
    const words = () => heard().filter(note => note.startsWith('said {'));
    await until('it is told', () => words().length === 2);
    expect(words()[1]).toBe('said {"type":"chat","text":{"userId":"bob"}}');
  });

  test('... and that he says what can not be read: binary data, or too much at a time', async () => {
    const { heard, client } = await compared();
    client.write(clientFrame(BINARY, { payload: '{"userId":"bob"}' }));
    client.write(clientFrame(TEXT, { payload: `"${'x'.repeat(1_048_577)}"` }));
    await until('it is told', () => heard().filter(note => note === 'said null').length === 2);
  });
});

test('nothing is touched where it is only observed, or where nobody knows who the client is', async () => {
  for (const [mode, fields] of [['observe', ANN] as const, ['block', ''] as const]) {
    const { front, client, upstream } = await session(mode, {}, fields);
    upstream.write(BOBS);
    await until('it comes', () => client.received.length >= BOBS.length);
    expect(client.received).toEqual(BOBS);
    expect(front.prevented).toEqual([]);
  }
});

test('lists that reach him with his own name alone are counted, and are nothing that was prevented', async () => {
  const list = message('{"recipient_id":["bob","ann"]}');
  const narrowed = message('{"recipient_id":["ann"]}');
  for (const [mode, given, counted] of [
    ['sanitize', narrowed, ['events']] as const,
    ['block', list, []] as const,
  ]) {
    const { front, client, upstream } = await session(mode);
    upstream.write(Buffer.concat([list, LAST]));
    await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
    expect(client.received).toEqual(Buffer.concat([given, LAST]));
    expect(front.narrowed).toEqual(counted);
    expect(front.prevented).toEqual([]);
  }
});

test.each(['sanitize', 'block'] as const)(
  "nothing is touched where by legacy's own streams the names do not fit: %s",
  async mode => {
    const fits = () => false;
    const { front, client, upstream } = await session(mode, {}, ANN, { fits });
    const list = message('{"recipient_id":["bob","ann"]}');
    upstream.write(Buffer.concat([BOBS, list, LAST]));
    await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
    expect(client.received).toEqual(Buffer.concat([BOBS, list, LAST]));
    expect(front.prevented).toEqual([]);
    expect(front.narrowed).toEqual([]);
  },
);

/** Messages that nobody can look into, and why. */
const OPAQUE: [string, string, Buffer][] = [
  ['binary', 'binary', frame(BINARY, { payload: Buffer.from([0xff, 0, 1]) })],
  ['longer than is looked into', 'too-large', message(LONG)],
  ['longer than is looked into, in fragments', 'too-large', fragments(LONG)],
  ['no JSON, with the name of a routing field in it', 'not-json', message('"recipient_id": bob')],
  [
    'a message that begins inside another',
    'unframeable',
    Buffer.concat([
      frame(TEXT, { payload: '{"recipient_id":', fin: false }),
      frame(TEXT, { payload: '"bob"}' }),
    ]),
  ],
];

describe.each(OPAQUE)('12, 40, 48: %s', (_what, because, sent) => {
  test.each(['pass', 'block'] as const)('uninspectable: %s', async uninspectable => {
    const { front, client, upstream } = await session('sanitize', { uninspectable });
    upstream.write(Buffer.concat([sent, LAST]));
    await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
    const due = uninspectable === 'pass' ? Buffer.concat([sent, LAST]) : LAST;
    expect(client.received.equals(due)).toBe(true);
    const withheld = uninspectable === 'block';
    expect(front.uninspected).toEqual([{ route: 'events', side: 'legacy', because, withheld }]);
  });
});

describe('74: a fault in the guard itself', () => {
  afterEach(() => void vi.restoreAllMocks());

  const failing = () =>
    vi.spyOn(Recipient.prototype, 'named').mockImplementation(() => {
      throw new Error('a fault of ours');
    });

  test.each(['pass', 'block'] as const)(
    'ends no session: uninspectable: %s',
    async uninspectable => {
      const { front, client, upstream } = await session('sanitize', { uninspectable });
      const fault = failing();
      upstream.write(Buffer.concat([BOBS, LAST]));
      await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
      const withheld = uninspectable === 'block';
      expect(client.received).toEqual(withheld ? LAST : Buffer.concat([BOBS, LAST]));
      expect(front.uninspected).toMatchObject([{ because: 'failed', withheld }]);
      expect(front.guardFailures).toEqual([new Error('a fault of ours')]);
      // The next one is looked into as ever.
      fault.mockRestore();
      client.received = Buffer.alloc(0);
      upstream.write(Buffer.concat([BOBS, LAST]));
      await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
      expect(client.received).toEqual(Buffer.concat([MENDED, LAST]));
    },
  );

  test('nor any answer of HTTP', async () => {
    failing();
    const { service, client, front } = await withService(guarded('sanitize'));
    client.write(get('/api/x', ANN));
    const head = 'Content-Type: application/json\r\n';
    (await asked(service)).write(answer('{"userId":["bob"]}', head));
    await client.has('{"userId":["bob"]}');
    expect(front.uninspected).toMatchObject([{ because: 'failed', withheld: false }]);
  });

  test('nor any stream of events, at the first look that each event is given', () => {
    const isolation = new Compiled(DEFAULT_ISOLATION);
    vi.spyOn(isolation.anyName, 'test').mockImplementation(() => {
      throw new Error('a fault of ours');
    });
    const [failures, opaque, given]: [unknown[], string[], string[]] = [[], [], []];
    const watch: IsolationWatch = {
      ...{ fits: () => true, prevented: () => undefined, narrowed: () => undefined },
      failed: (_route, error) => void failures.push(error),
      uninspected: (_route, _side, because) => void opaque.push(because),
    };
    const guard = new IsolationGuard({
      ...{ route: 'sse', side: 'candidate', id: 'r1', subject: { id: 'ann', aliases: [] } },
      ...{ isolation, mode: 'sanitize', watch, compared: () => false },
    });
    const events = new EventGuard(guard, new HeldRoom(), bytes => given.push(String(bytes)) > 0);
    for (const part of ['data: 1\n\ndata:', ' 2\n\n']) events.push(Buffer.from(part));
    events.end();
    expect(given.join('')).toBe('data: 1\n\ndata: 2\n\n');
    expect(opaque).toEqual(['failed', 'failed']);
    expect(failures.length).toBeGreaterThan(1);
  });

  test('... and one in those who are told keeps nobody from being guarded', async () => {
    const fits = () => {
      throw new Error('a fault of ours');
    };
    const { service, front } = await withService({ ...guarded('sanitize'), fits });
    const client = await rawClient(front.port);
    closing({ close: () => client.socket.destroy() });
    client.write(upgradeRequest('/ws', ANN));
    const upstream = await service.next();
    await upstream.accept();
    await client.has('\r\n\r\n');
    client.received = Buffer.alloc(0);
    upstream.write(Buffer.concat([BOBS, LAST]));
    await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
    expect(client.received).toEqual(Buffer.concat([MENDED, LAST]));
    expect(front.guardFailures).toHaveLength(1);
  });
});

// The fault: it passed as it came whatever the route said, and was counted nowhere.
test.each([
  ['pass', 'sanitize', true],
  ['block', 'sanitize', false],
  ['block', 'block', false],
  ['block', 'observe', true],
] as const)(
  'uninspectable: %s, in mode %s: the body of a refused handshake passes: %s',
  async (uninspectable, mode, passes) => {
    const { service, front } = await withService(guarded(mode, { uninspectable }));
    const refused = async (answer: string) => {
      const client = await rawClient(front.port);
      closing({ close: () => client.socket.destroy() });
      client.write(upgradeRequest('/ws', ANN));
      const upstream = await service.next();
      await upstream.has('\r\n\r\n');
      upstream.write(answer);
      await until('it is over', () => client.ended);
      return client.text;
    };
    const body = '{"userId":"bob"}';
    const head = 'HTTP/1.1 403 Forbidden\r\nX-Why: not you\r\nContent-Type: application/json\r\n';
    const framed = [
      `${head}Content-Length: ${body.length}\r\n\r\n${body}`,
      `${head}Transfer-Encoding: chunked\r\n\r\n10\r\n${body}\r\n0\r\n\r\n`,
    ];
    for (const answer of framed) {
      const text = await refused(answer);
      expect(text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\nX-Why: not you\r\n/);
      expect(text.includes(body)).toBe(passes);
      if (!passes) expect(text).toMatch(/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n$/);
    }
    // One without a body says nothing of anybody.
    await refused('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
    const told = { route: 'events', side: 'legacy', because: 'refusal', withheld: !passes };
    expect(front.uninspected).toEqual(mode === 'observe' ? [] : [told, told]);
  },
);

test('a message for which there is no room goes on, or not, as its route says, and all others are whole', async () => {
  const options = guarded('sanitize');
  const withheld = { uninspectable: 'block' } as const;
  const { service, front } = await withService({
    ...options,
    routes: [
      { name: 'events', path: '/ws', protocol: 'websocket' },
      { name: 'strict', path: '/strict', protocol: 'websocket', isolation: withheld },
    ],
  });
  // 64 of them have room; the last of each is still to come.
  const whole = message(`{"recipient_id":"ann","x":"${'x'.repeat(1_040_000)}"}`);
  const cut = whole.length - 100;
  const [first, rest] = [whole.subarray(0, cut), whole.subarray(cut)];
  let read = 0;
  const begin = async (path: string) => {
    const client = await rawClient(front.port);
    closing({ close: () => client.socket.destroy() });
    client.write(upgradeRequest(path, ANN));
    const upstream = await service.next();
    await upstream.accept();
    await client.has('\r\n\r\n');
    client.received = Buffer.alloc(0);
    upstream.write(first);
    read += cut;
    await until('the proxy has read it', () => {
      let bytes = 0;
      for (const { counters } of front.traffic.counters()) bytes += counters.bytesToClient;
      return bytes === read;
    });
    return { client, upstream };
  };
  const held = [];
  for (let n = 0; n < 64; n += 1) held.push(await begin('/ws'));
  expect(front.uninspected).toEqual([]);
  const [passed, stopped] = [await begin('/ws'), await begin('/strict')];
  expect(front.uninspected).toMatchObject([
    { route: 'events', because: 'no-room', withheld: false },
    { route: 'strict', because: 'no-room', withheld: true },
  ]);
  const ends = async ({ client, upstream }: typeof passed, due: Buffer) => {
    upstream.write(Buffer.concat([rest, LAST]));
    read += rest.length + LAST.length;
    await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
    expect(client.received.equals(due)).toBe(true);
  };
  await ends(passed, Buffer.concat([whole, LAST]));
  await ends(stopped, LAST);
  await ends(held[0] as typeof passed, Buffer.concat([whole, LAST]));
  // It has given its room back.
  await begin('/strict');
  expect(front.uninspected).toHaveLength(2);
}, 30_000);

test('a stream whose frames can not be followed is cut off where what is opaque is withheld', async () => {
  const { client, upstream } = await session('sanitize', { uninspectable: 'block' });
  upstream.write(Buffer.concat([LAST, frame(TEXT, { lengthBytes: 8, claims: 2n ** 63n })]));
  await until('the client is cut off', () => client.ended || client.closed);
  expect(client.received).toEqual(LAST);
});

test('closes pass, and a withheld event before them stays withheld', async () => {
  const { client, upstream } = await session('block');
  const close = closeFrame(4001, 'bye');
  upstream.write(Buffer.concat([BOBS, close]));
  await until('the close comes', () => client.received.length >= close.length);
  expect(client.received).toEqual(close);
});

/**
 * The fault: what came between the fragments of a message was held with it. A service that streams a text
 * for longer than its patience got no pong and closed, and so did the client, whose pongs were held as well.
 */
test('pings and pongs of a service that streams a message wait for no end of it', async () => {
  const { client, upstream } = await session('block');
  const pong = controlFrame(OPCODE.pong, Buffer.from('q'));
  upstream.write(frame(TEXT, { payload: '{"recipient_id":', fin: false }));
  upstream.write(PING);
  await until('the ping comes', () => client.received.length >= PING.length);
  upstream.write(pong.subarray(0, 1));
  upstream.write(pong.subarray(1));
  await until('the pong comes', () => client.received.length >= PING.length + pong.length);
  expect(client.received).toEqual(Buffer.concat([PING, pong]));
  upstream.write(Buffer.concat([frame(MORE, { payload: '"bob"}' }), LAST]));
  await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
  expect(client.received).toEqual(Buffer.concat([PING, pong, LAST]));
});

test('... nor is a ping in a message that is withheld unseen', async () => {
  const { client, upstream } = await session('sanitize', { uninspectable: 'block' });
  upstream.write(Buffer.concat([fragments(LONG, PING), LAST]));
  await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
  expect(client.received).toEqual(Buffer.concat([PING, LAST]));
});

test('a close in the middle of a message ends the session with its code', async () => {
  const { client, upstream } = await session('sanitize');
  const close = closeFrame(4001, 'bye');
  upstream.write(Buffer.concat([frame(TEXT, { payload: '{"recipient_id":', fin: false }), close]));
  upstream.socket.end();
  await until('the connection ends', () => client.ended);
  expect(client.received).toEqual(close);
});

/** The fault: it was cut off as one that has the beginning of a frame. */
test('a client that has nothing of the frame under way is told to come again', async () => {
  const { front, client, upstream } = await session('sanitize');
  upstream.write(BOBS.subarray(0, 9));
  await until('the proxy has read it', () => onTheWay(upstream, 'out') === 0);
  void front.traffic.drain(20);
  const notice = closeFrame(1012, 'service restart');
  await until('it is told', () => client.received.length >= notice.length || client.ended);
  expect(client.received).toEqual(notice);
});

test('a decision that changes holds from the next message on', async () => {
  let mode: IsolationMode = 'observe';
  const { service, front } = await withService({
    ...guarded('observe'),
    decider: () => ({ decision: { ...decisionFor('legacy'), isolation: mode }, revision: mode }),
  });
  const client = await rawClient(front.port);
  closing({ close: () => client.socket.destroy() });
  client.write(upgradeRequest('/ws', ANN));
  const upstream = await service.next();
  await upstream.accept();
  await client.has('\r\n\r\n');
  client.received = Buffer.alloc(0);
  const cut = BOBS.length - 5;
  upstream.write(BOBS.subarray(0, cut));
  await until('the first half comes', () => client.received.length === cut);
  mode = 'block';
  await front.traffic.reconsider();
  upstream.write(Buffer.concat([BOBS.subarray(cut), BOBS, LAST]));
  await until('the last one comes', () => client.received.subarray(-LAST.length).equals(LAST));
  expect(client.received).toEqual(Buffer.concat([BOBS, LAST]));
});

// The fault: it held for sockets at once, and for a stream never, however long that lasted.
test.each(['in-place', 'drain'] as const)(
  'a stream that is to be guarded in another way ends behind an event, and its client comes again: %s',
  async onSwitch => {
    let mode: IsolationMode = 'observe';
    const { service, front } = await withService({
      ...guarded('observe'),
      routes: [{ name: 'sse', path: '/events', protocol: 'sse', onSwitch }],
      decider: () => ({ decision: { ...decisionFor('legacy'), isolation: mode }, revision: mode }),
    });
    const streams = [];
    for (const fields of [ANN, '']) {
      const client = await connected(front);
      client.write(get('/events', fields));
      const upstream = await asked(service);
      upstream.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n');
      await client.has('data: one\n\n');
      streams.push({ client, upstream });
    }
    await front.traffic.reconsider();
    mode = 'block';
    await front.traffic.reconsider();
    const [anns, anybodys] = streams;
    await anns?.client.has('\r\n0\r\n\r\n');
    expect(anns?.client.text).toMatch(/data: one\n\n\r\n[0-9a-f]+\r\nretry: \d+\n\n/);
    anybodys?.upstream.write('data: two\n\n');
    await anybodys?.client.has('data: two\n\n');
  },
);

const chunked = (text: string) => (text === '' ? '' : `${text.length.toString(16)}\r\n${text}\r\n`);

describe('answers of HTTP', () => {
  async function answered(
    mode: IsolationMode,
    head: string,
    body: Buffer | string,
    isolation = {},
  ) {
    const at = await withService(guarded(mode, isolation));
    at.client.write(get('/api/x', ANN));
    const upstream = await asked(at.service);
    const bytes = Buffer.from(body);
    upstream.write(`HTTP/1.1 200 OK\r\n${head}Content-Length: ${bytes.length}\r\n\r\n`);
    upstream.write(bytes);
    await until('it is answered whole', () => {
      const [, length] = /content-length: (\d+)/i.exec(at.client.text) ?? [];
      const at0 = at.client.received.indexOf('\r\n\r\n') + 4;
      return length !== undefined && at.client.received.length >= at0 + Number(length);
    });
    const [heads = '', ...rest] = at.client.text.split('\r\n\r\n');
    return { ...at, head: heads, body: rest.join('\r\n\r\n') };
  }
  const JSON_HEAD = 'Content-Type: application/json\r\nETag: "1"\r\n';

  test('one addressed to somebody else is put right, with its length and without what described it', async () => {
    const { head, body, front } = await answered('sanitize', JSON_HEAD, '{"userId":"bobby"}');
    expect(body).toBe('{"userId":"ann"}');
    expect(head.toLowerCase()).not.toContain('etag');
    expect(front.prevented).toMatchObject([{ route: 'api', path: '/userId' }]);
  });

  test('... or withheld, with an error that says so', async () => {
    const { head, body, front } = await answered('block', JSON_HEAD, '{"userId":"bob"}');
    expect(head).toMatch(/^HTTP\/1.1 502 /);
    expect(JSON.parse(body)).toMatchObject({ error: { code: 'isolated' } });
    expect(front.prevented).toMatchObject([{ outcome: 'blocked' }]);
  });

  test('what is held of answers whose clients leave takes no room from those that stay', async () => {
    const { service, front } = await withService(guarded('block'));
    const half = Buffer.alloc(1_000_000, ' ');
    for (let n = 0; n < 100; n += 1) {
      const client = await connected(front);
      client.write(get('/api/x', ANN));
      const upstream = await asked(service);
      upstream.write(`HTTP/1.1 200 OK\r\n${JSON_HEAD}Content-Length: 1048576\r\n\r\n`);
      upstream.write(half);
      // The proxy reads it in this very process: nothing tells when, but it is quick.
      const at = performance.now();
      await until('it has been read', () => performance.now() > at + 15);
      client.socket.destroy();
      await until('the service is let go', () => upstream.ended || upstream.closed);
    }
    const client = await connected(front);
    client.write(get('/api/x', ANN));
    const bobs = JSON.stringify({ pad: 'x'.repeat(500_000), userId: 'bob' });
    (await asked(service)).write(answer(bobs, JSON_HEAD));
    await client.has('"code":"isolated"');
  });

  test('a clean one passes as it came', async () => {
    const { head, body } = await answered('block', JSON_HEAD, '{"userId":"ann"}');
    expect(head).toContain('ETag: "1"');
    expect(body).toBe('{"userId":"ann"}');
  });

  test('what is compressed is looked into', async () => {
    const coded = `${JSON_HEAD}Content-Encoding: gzip\r\n`;
    const bobs = await answered('sanitize', coded, gzipSync('{"userId":"bob"}'));
    expect(bobs.body).toBe('{"userId":"ann"}');
    expect(bobs.head.toLowerCase()).not.toContain('content-encoding');
    const own = gzipSync('{"userId":"ann"}');
    const anns = await answered('sanitize', coded, own);
    expect(anns.client.received.subarray(-own.length)).toEqual(own);
  });

  /** What an answer says of itself, its body, and what becomes of that. */
  const SAID: [string, string, string | Buffer, string][] = [
    ['text', 'Content-Type: text/plain\r\n', '{"userId":"bob"}', '{"userId":"ann"}'],
    ['nothing', '', ' \r\n\t[{"userId":"bob"}]', ' \r\n\t[{"userId":"ann"}]'],
    [
      'JSON of a kind',
      'Content-Type: application/vnd.x+json\r\n',
      '{"userId":"bob"}',
      '{"userId":"ann"}',
    ],
    [
      'a picture',
      'Content-Type: image/png\r\n',
      '\uFEFF{"userId":"bob"}',
      '\xef\xbb\xbf{"userId":"ann"}',
    ],
  ];
  const latin1 = (text: string) => Buffer.from(text, 'latin1');
  SAID.push(
    [
      'Latin-1',
      'Content-Type: application/json;charset=ISO-8859-1\r\n',
      latin1('{"n":"\xe9","userId":"bob"}'),
      '{"n":"\xe9","userId":"ann"}',
    ],
    [
      'UTF-8, with one byte that is none',
      JSON_HEAD,
      latin1('{"userId":"bob","n":"\xff"}'),
      '{"userId":"ann","n":"\xff"}',
    ],
    [
      'UTF-16, and is not',
      'Content-Type: application/json; charset=utf-16\r\n',
      '{"userId":"bob"}',
      '{"userId":"ann"}',
    ],
    [
      'UTF-8, with a zero in a text',
      JSON_HEAD,
      '{"userId":"bob","n":"\0"}',
      '{"userId":"ann","n":"\0"}',
    ],
  );
  const CODINGS = {
    gzip: gzipSync,
    deflate: deflateSync,
    br: brotliCompressSync,
    zstd: zstdCompressSync,
  };
  for (const [coding, coded] of Object.entries(CODINGS)) {
    const head = `Content-Type: text/plain\r\nContent-Encoding: ${coding}\r\n`;
    SAID.push([`text in ${coding}`, head, coded('{"userId":"bob"}'), '{"userId":"ann"}']);
  }

  describe('that are shown to the other service as well', () => {
    async function shown(path: string) {
      const ear = new Ear();
      const second = { side: 'candidate', role: 'shadow' } as const;
      const decision = { ...decisionFor('legacy'), isolation: 'sanitize' as const, second };
      const { service, front, client } = await withService({
        ...guarded('sanitize'),
        tap: ear,
        decider: () => ({ decision, revision: 'test' }),
      });
      client.write(get(path, ANN));
      const both = [await asked(service), await asked(service)];
      const primary = both.find(({ text }) => !/x-cutover-role/i.test(text)) as RawEnd;
      return { ear, front, client, primary };
    }

    test.each(['/api/x', '/events'])(
      'the judge has what was prevented before the other service has answered: %s',
      async path => {
        const { ear, front, client, primary } = await shown(path);
        primary.write(answer('{"userId":"bob"}', JSON_HEAD));
        await client.has('{"userId":"ann"}');
        expect(ear.answers).toEqual(['legacy {"userId":"bob"}']);
        expect(front.prevented).toMatchObject([{ compared: true, eventType: 'GET 2xx' }]);
        expect(ear.exchanges).toEqual([]);
      },
    );

    test.each(['/api/x', '/events'])(
      'what it has no room for is told by the lane, at once: %s',
      async path => {
        const { ear, front, client, primary } = await shown(path);
        ear.isDeaf = true;
        primary.write(answer('{"userId":"bob"}', JSON_HEAD));
        await client.has('{"userId":"ann"}');
        expect(front.prevented).toMatchObject([{ compared: false }]);
      },
    );

    test('a clean answer is handed over once, with the other one', async () => {
      const { ear, client, primary } = await shown('/api/x');
      primary.write(answer('{"userId":"ann"}', JSON_HEAD));
      await client.has('{"userId":"ann"}');
      expect(ear.answers).toEqual([]);
    });

    test.each([false, true])(
      'so it is with a stream of events (the judge is behind: %s)',
      async isDeaf => {
        const { ear, front, client, primary } = await shown('/events');
        for (const stream of ear.streams) stream.isDeaf = isDeaf;
        const head =
          'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n';
        primary.write(`${head}event: a\ndata: {"userId":"bob"}\n\n`);
        await client.has('{"userId":"ann"}');
        expect(ear.streams[0]?.facts).toMatchObject({ format: 'sse', primary: 'legacy' });
        expect(front.prevented).toMatchObject([{ compared: !isDeaf, eventType: 'a' }]);
      },
    );
  });

  test.each(SAID)(
    'JSON that is said to be %s is looked into, whole or byte by byte',
    async (_what, head, body, due) => {
      const whole = await answered('sanitize', head, body);
      expect(whole.body).toBe(due);
      expect(whole.front.uninspected).toEqual([]);
      const { service, client } = await withService(guarded('sanitize'));
      client.write(get('/api/x', ANN));
      const upstream = await asked(service);
      const bytes = Buffer.from(body as string);
      upstream.write(`HTTP/1.1 200 OK\r\n${head}Content-Length: ${bytes.length}\r\n\r\n`);
      for (const byte of bytes) upstream.write(Buffer.from([byte]));
      await client.has(due);
    },
  );

  test('a page goes on with its first byte, though its end is not there', async () => {
    const { service, client, front } = await withService(guarded('sanitize'));
    client.write(get('/api/x', ANN));
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100\r\n\r\n<h1>');
    await client.has('<h1>');
    expect(front.uninspected).toMatchObject([{ because: 'binary', withheld: false }]);
  });

  test('lines of JSON, for each of which its client may wait, are not held', async () => {
    const { service, client, front } = await withService(guarded('sanitize'));
    client.write(get('/api/x', ANN));
    const upstream = await asked(service);
    const head =
      'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n';
    upstream.write(`${head}{"userId":"ann"}\n`);
    await client.has('"ann"');
    expect(front.uninspected).toMatchObject([{ because: 'binary', withheld: false }]);
  });

  test.each([
    ['an image', 'Content-Type: image/png\r\n', Buffer.from([0x89, 0x50]), 'binary'],
    ['too long a body', JSON_HEAD, `{"userId":"bob","x":"${'x'.repeat(1_100_000)}"}`, 'too-large'],
    [
      'JSON in another charset',
      'Content-Type: application/json; charset=utf-16\r\n',
      Buffer.from('{"userId":"bob"}', 'utf16le'),
      'not-utf8',
    ],
    [
      'JSON in a charset in which ASCII may be something else, with no address to be seen',
      'Content-Type: application/json; charset=shift_jis\r\n',
      '{"n":1}',
      'not-utf8',
    ],
    [
      'UTF-16 that says nothing of it',
      JSON_HEAD,
      Buffer.from('{"userId":"bob"}', 'utf16le'),
      'not-utf8',
    ],
    ['a coding that nobody knows', `${JSON_HEAD}Content-Encoding: odd\r\n`, '{}', 'coded'],
    [
      'a bomb',
      `${JSON_HEAD}Content-Encoding: gzip\r\n`,
      gzipSync(Buffer.alloc(50_000_000, '{"userId":"bob"}')),
      'coded',
    ],
  ])('48: %s passes, or not, as the route says', async (_what, head, body, because) => {
    const passed = await answered('sanitize', head, body);
    expect(passed.client.received.subarray(-body.length)).toEqual(Buffer.from(body));
    const stopped = await answered('sanitize', head, body, { uninspectable: 'block' });
    expect(JSON.parse(stopped.body)).toMatchObject({ error: { code: 'isolated' } });
    expect(stopped.front.uninspected).toMatchObject([{ because, withheld: true }]);
  });
});

describe('answers to writes that go to both', () => {
  async function written(body: string) {
    const candidate = closing(await rawServer());
    const options = guarded('block');
    const at = await withService({
      ...options,
      candidate: candidate.port,
      upstream: { responseTimeoutMs: 300 },
      routes: [{ name: 'api', path: '/api/*', protocol: 'http', writes: 'both' }],
      decider: () => ({
        decision: { ...decisionFor('legacy'), isolation: 'block', writeTo: 'both' },
        revision: 'test',
      }),
    });
    at.client.write(
      `POST /api/x HTTP/1.1\r\nHost: h\r\n${ANN}Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    const upstream = await asked(at.service);
    const heldBytes = () => at.front.traffic.heldBytes.answers;
    const hasLeft = () => at.front.logged.some(line => line.includes('request ended'));
    return { ...at, upstream, heldBytes, hasLeft };
  }
  const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n';

  // The fault: what came after the client had left was held as well, and its room was never given back.
  test('are held until the service has done, not its client, and no longer', async () => {
    const { front, client, upstream, heldBytes, hasLeft } = await written('{}');
    client.socket.destroy();
    await until('its end is noticed', hasLeft);
    upstream.write(`${HEAD}{"userId":`);
    await until('a part is held', () => heldBytes() > 0);
    await until('its service is given up', () => upstream.ended || upstream.closed);
    await until('its room is free', () => heldBytes() === 0);
    expect(front.prevented).toEqual([]);
  });

  test('are looked into though the client has left: what is said of it is not that it was delivered', async () => {
    const { front, client, upstream, heldBytes, hasLeft } = await written('{}');
    upstream.write(`${HEAD}{"userId":`);
    await until('a part is held', () => heldBytes() > 0);
    client.socket.destroy();
    await until('its end is noticed', hasLeft);
    upstream.write('"bob"}');
    await until('it is told', () => front.prevented.length === 1);
    expect(front.prevented).toMatchObject([{ outcome: 'blocked' }]);
    await until('its room is free', () => heldBytes() === 0);
  });

  test('one that is withheld says that its service took what was too long for both', async () => {
    const { front, client, upstream } = await written('x'.repeat(1_100_000));
    await until('it has come', () => upstream.received.length > 1_100_000);
    upstream.write(`${HEAD}{"userId":"bob"}`);
    await client.has('"code":"isolated"');
    expect(front.splits).toMatchObject([{ cause: 'too-large', primary: { outcome: 200 } }]);
  });
});

describe('streams of events', () => {
  async function stream(
    mode: IsolationMode,
    sent: string,
    isolation: Isolation,
    apart: boolean,
    fields = '',
  ) {
    const at = await withService(guarded(mode, isolation));
    at.client.write(get('/events', ANN));
    const upstream = await asked(at.service);
    upstream.write(
      `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${fields}Transfer-Encoding: chunked\r\n\r\n`,
    );
    const all = `${sent}data: last\n\n`;
    if (apart) for (const char of all) upstream.write(chunked(char));
    else upstream.write(chunked(all));
    await until('the last one comes', () =>
      /last(?:\r\n[0-9a-f]+\r\n|\n|\r\n)*$/.test(at.client.text),
    );
    const [, body = ''] = at.client.text.split(/\r\n\r\n(.*)/s);
    const text = body.replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, '').replace(/\r\n$/, '');
    return { ...at, text: text.replace(/data: last\n*$/, '') };
  }
  const own = 'id: 1\nevent: a\ndata: {"userId":"ann"}\n\n';
  const bobs = 'id: 2\nevent: a\ndata: {"userId":\ndata: "bob"}\n\n';
  const mended = 'id: 2\nevent: a\ndata: {"userId":\ndata: "ann"}\n\n';

  test.each([false, true])(
    'an event is put right or withheld by itself (in single bytes: %s)',
    async apart => {
      const sent = `: hello\n\n${own}${bobs}${own}`;
      const sanitized = await stream('sanitize', sent, {}, apart);
      expect(sanitized.text).toBe(`: hello\n\n${own}${mended}${own}`);
      expect(sanitized.front.prevented).toMatchObject([{ route: 'sse', eventType: 'a' }]);
      const blocked = await stream('block', sent, {}, apart);
      expect(blocked.text).toBe(`: hello\n\n${own}${own}`);
    },
  );

  // The fault: it was taken for compressed, and passed as a whole, or none of it did.
  test('one that says it is not coded is looked into as any other', async () => {
    const fields = 'Content-Encoding: Identity\r\n';
    const sanitized = await stream('sanitize', `${own}${bobs}`, {}, false, fields);
    expect(sanitized.text).toBe(`${own}${mended}`);
    const strict: Isolation = { uninspectable: 'block' };
    const blocked = await stream('block', `${own}${bobs}`, strict, false, fields);
    expect(blocked.text).toBe(own);
  });

  test.each([
    [
      'a key and its colon on two lines',
      'data: {"userId"\ndata: :"bob"}\n\n',
      'data: {"userId"\ndata: :"ann"}\n\n',
    ],
    ['... with CR', 'data: {"userId"\rdata: :"bob"}\r\r', 'data: {"userId"\ndata: :"ann"}\n\n'],
    [
      'a byte order mark before it',
      '\xef\xbb\xbfdata: {"userId":"bob"}\n\n',
      'data: {"userId":"ann"}\n\n',
    ],
  ])('%s hides nothing', async (_what, sent, due) => {
    for (const apart of [false, true]) {
      const sanitized = await stream('sanitize', sent, {}, apart);
      expect(sanitized.text).toBe(due);
      expect((await stream('block', sent, {}, apart)).text).toBe('');
    }
  });

  test('a type that the stream names tells provenance apart', async () => {
    const provenance = { provenance: { a: ['userId'] } };
    expect((await stream('block', bobs, provenance, false)).text).toBe(bobs);
  });
});
