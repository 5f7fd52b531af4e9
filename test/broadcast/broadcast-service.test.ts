import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import {
  ConnectionManager,
  createBroadcastService,
  preventCrossUserContamination,
  WebSocketBroadcastService,
} from '../../src/broadcast/entry-points.ts';
import {
  ENVELOPES,
  isRecord,
  PROVENANCE_FIELDS,
  ROUTING_FIELDS,
} from '../../src/broadcast/event.ts';
import { QUIRKS, type Quirk } from '../../src/broadcast/quirks.ts';
import { attach, type Listener } from './listener.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** Real sockets, without the reference server: the server's ends, and what their clients read. */
async function sockets(count: number): Promise<{ ours: WebSocket[]; theirs: Listener[] }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  closers.push(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  const ours: WebSocket[] = [];
  const theirs: Listener[] = [];
  const { port } = server.address() as AddressInfo;
  while (ours.length < count) {
    const accepted = once(server, 'connection');
    const client = new WebSocket(`ws://127.0.0.1:${port}`);
    theirs.push(attach(client));
    const [socket] = await accepted;
    if (socket instanceof WebSocket) ours.push(socket);
  }
  return { ours, theirs };
}

const leak = {
  type: 'agent_completed',
  user_id: 'original_789',
  sender_id: 'sender_999',
  creator_id: 'creator_111',
  owner_id: 'owner_222',
  recipient_id: 'wrong_333',
  target_user_id: 'wrong_444',
  userId: 'wrong_555',
  source_user_id: 'source_666',
  data: { recipient_id: 'wrong_777', message: 'unchanged' },
};

test('a broadcast reaches every socket of its user and no other, and counts the frames', async () => {
  const connections = new ConnectionManager();
  const service = createBroadcastService(connections);
  const { ours, theirs } = await sockets(3);
  const users = ['alice', 'alice', 'bob'];
  for (const [index, socket] of ours.entries()) service.connect(users[index] ?? '', socket);

  const result = await service.broadcastToUser('alice', { type: 'note', n: 1 });
  await service.broadcastToUser('bob', { type: 'note', n: 2 });

  expect(result).toMatchObject({
    user_id: 'alice',
    connections_attempted: 2,
    successful_sends: 2,
    event_type: 'note',
    errors: [],
    success_rate: 100,
    is_successful: true,
  });
  for (const listener of theirs) await listener.gets(1);
  expect(theirs.map(({ events }) => events.map(event => event.n))).toEqual([[1], [1], [2]]);
  expect(connections.counts).toMatchObject({ users: 2, connections: 3, framesTaken: 3 });
});

test('with one of two sockets dead the result says one', async () => {
  const service = createBroadcastService(new ConnectionManager());
  const { ours, theirs } = await sockets(2);
  for (const socket of ours) service.connect('alice', socket);
  // Dead, and still registered: nobody has told the service.
  ours[0]?.terminate();
  const result = await service.broadcastToUser('alice', { type: 'note' });
  expect(result).toMatchObject({
    connections_attempted: 2,
    successful_sends: 1,
    success_rate: 50,
    is_successful: true,
  });
  await theirs[1]?.gets(1);
});

test('with no socket there is no success, and the newest 50 events come later as recovered', async () => {
  const service = createBroadcastService(new ConnectionManager());
  for (let n = 0; n < 60; n++) {
    const result = await service.broadcastToUser('alice', { type: 'note', n });
    expect(result).toMatchObject({
      connections_attempted: 0,
      successful_sends: 0,
      success_rate: 0,
      is_successful: false,
    });
    expect(result.errors).toHaveLength(1);
  }
  const { ours, theirs } = await sockets(1);
  if (ours[0] !== undefined) service.connect('alice', ours[0]);
  const got = (await theirs[0]?.gets(50)) ?? [];
  expect(got.map(event => event.n)).toEqual(Array.from({ length: 50 }, (_, index) => index + 10));
  expect(got.every(event => event.recovered === true)).toBe(true);
  expect(service.getStats().broadcast_stats).toMatchObject({
    messages_queued: 60,
    messages_dropped: 10,
    users_waiting: 0,
  });
});

test('routing fields are put right in every envelope, provenance arrives as it was sent', async () => {
  const service = createBroadcastService(new ConnectionManager());
  const { ours, theirs } = await sockets(1);
  if (ours[0] !== undefined) service.connect('alice', ours[0]);
  const result = await service.broadcastToUser('alice', leak);
  const [event] = (await theirs[0]?.gets(1)) ?? [];
  expect(event).toEqual({
    ...leak,
    recipient_id: 'alice',
    target_user_id: 'alice',
    userId: 'alice',
    data: { recipient_id: 'alice', message: 'unchanged' },
    timestamp: event?.timestamp,
  });
  expect(result.errors).toHaveLength(4);
  expect(JSON.stringify(result)).not.toMatch(/wrong_|original_|source_/);
  expect(service.getStats().security_metrics).toEqual({
    contaminated_events: 1,
    routing_fields_rewritten: 4,
  });
});

test('after sanitising no routing field names anybody else, and nothing besides has changed', () => {
  const value = fc.oneof(fc.constantFrom('alice', 'Alice', 'bob', '', 0, 7, null), fc.string());
  const keys = fc.constantFrom<string>(...ROUTING_FIELDS, ...PROVENANCE_FIELDS, 'source_user_id');
  const fields = fc.dictionary(keys, value);
  const events = fc
    .tuple(fields, fc.option(fields, { nil: undefined }), fc.option(fields, { nil: undefined }))
    .map(([root, data, payload]) => ({ type: 'note', ...root, data, payload }));
  const routing: ReadonlySet<string> = new Set(ROUTING_FIELDS);
  const rest = (from: Readonly<Record<string, unknown>>) =>
    Object.entries(from).filter(([key, inner]) => !routing.has(key) && !isRecord(inner));
  fc.assert(
    fc.property(events, sent => {
      const before = structuredClone(sent);
      const { event, rewritten } = preventCrossUserContamination(sent, 'alice');
      const levels = [event, ...ENVELOPES.map(name => event[name])].filter(isRecord);
      const originals = [sent, sent.data, sent.payload].filter(each => isRecord(each));
      for (const level of levels) {
        for (const name of ROUTING_FIELDS) expect(level[name] || 'alice').toBe('alice');
      }
      expect(levels.map(rest)).toEqual(originals.map(rest));
      expect(sent).toEqual(before);
      if (rewritten.length === 0) expect(event).toBe(sent);
    }),
  );
});

test('a list of recipients is kept only when it names the target alone', () => {
  const of = (recipients: unknown) =>
    preventCrossUserContamination({ type: 'note', recipient_id: recipients }, 'alice').event
      .recipient_id;
  expect(of(['alice'])).toEqual(['alice']);
  expect(of(['alice', 'bob'])).toBe('alice');
  expect(of({ id: 'bob' })).toBe('alice');
});

test('each service flag switches its own part on and off, per instance', async () => {
  const lines: object[] = [];
  const service = createBroadcastService(new ConnectionManager(), {
    log: line => lines.push(line),
  });
  const other = createBroadcastService(new ConnectionManager());
  await service.broadcastToUser('alice', { type: 'note', userId: 'bob' });
  expect(lines).toEqual([
    { msg: 'contamination prevented', event_type: 'note', fields: ['userId'] },
  ]);
  expect(service.getStats().performance_metrics.broadcasts_timed).toBe(1);

  service.flags.enable_contamination_detection = false;
  service.flags.enable_performance_monitoring = false;
  service.flags.enable_comprehensive_logging = true;
  const result = await service.broadcastToUser('alice', { type: 'note', userId: 'bob' });
  expect(result.errors).toHaveLength(1);
  expect(lines.slice(1)).toEqual([
    { msg: 'broadcast', event_type: 'note', attempted: 0, taken: 0 },
  ]);
  const stats = service.getStats();
  expect(stats.performance_metrics.broadcasts_timed).toBe(1);
  expect(Object.keys(stats)).toEqual([
    'service_info',
    'broadcast_stats',
    'performance_metrics',
    'security_metrics',
    'feature_flags',
  ]);
  expect(other.getStats().feature_flags).toEqual({
    enable_contamination_detection: true,
    enable_performance_monitoring: true,
    enable_comprehensive_logging: false,
  });
  expect(service).toBeInstanceOf(WebSocketBroadcastService);
});

test('a reader who stalls is given up on before he costs more than some megabytes', async () => {
  const connections = new ConnectionManager();
  const service = createBroadcastService(connections);
  const { ours, theirs } = await sockets(1);
  const [socket] = ours;
  if (socket === undefined) throw new Error('no socket');
  service.connect('alice', socket);
  theirs[0]?.socket.pause();
  const filler = 'x'.repeat(512 * 1024);
  const pending: Promise<unknown>[] = [];
  for (let n = 0; n < 100; n++) {
    pending.push(service.broadcastToUser('alice', { type: 'note', filler }));
  }
  expect(socket.bufferedAmount).toBeLessThan(6 * 1024 * 1024);
  expect(connections.counts.framesFailed).toBeGreaterThan(50);
  socket.terminate();
  await Promise.all(pending);
});

test('the broken behaviour of the first service is there when asked for, and never otherwise', async () => {
  async function run(userId: string, quirks: readonly Quirk[]) {
    const service = createBroadcastService(new ConnectionManager(), { quirks: new Set(quirks) });
    const { ours, theirs } = await sockets(1);
    const absent = await service.broadcastToUser('user_1', { type: 'note' });
    if (ours[0] !== undefined) service.connect(userId, ours[0]);
    const present = await service.broadcastToUser(userId, leak);
    const [event] = (await theirs[0]?.gets(1, ({ user_id }) => user_id !== undefined)) ?? [];
    return { absent, present, event };
  }
  const clean = await run('alice', []);
  expect(clean.absent.is_successful).toBe(false);
  expect(clean.present.errors.join()).not.toContain('wrong_444');
  expect(clean.event?.source_user_id).toBe('source_666');

  expect((await run('user_7', ['false-success'])).absent).toMatchObject({
    is_successful: true,
    success_rate: 100,
    errors: [],
  });
  expect((await run('user_7', ['leak-ids'])).present.errors.join()).toContain('wrong_444');
  expect((await run('user_7', ['overwrite-user-id-suffix'])).event).toMatchObject({
    source_user_id: 'user_7',
    user_id: 'original_789',
  });
  await expect(run('alice', ['format-gate'])).rejects.toThrow(RangeError);
  await expect(run('123456789012345', ['format-gate'])).resolves.toBeDefined();
  expect(Object.keys(QUIRKS)).toHaveLength(4);
});
