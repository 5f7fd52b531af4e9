// One service of `broadcasters`, with 1,000 real sockets that are open before it takes them over.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  ConnectionManager,
  createBroadcastService,
  createUserExecutionContext,
} from '../src/broadcast/entry-points.ts';
import type { BroadcastEvent } from '../src/broadcast/event.ts';
import { LegacyBroadcaster } from '../src/broadcast/legacy/legacy-broadcaster.ts';
import { BURST_ROUNDS, type FromChild, USERS, WARM_UP_ROUNDS } from './broadcasters.ts';

const { gc } = globalThis;
if (gc === undefined || process.send === undefined) throw new Error('run by broadcasters.ts only');

const kind = process.argv[2] === 'ssot' ? 'ssot' : 'legacy';
const server = new WebSocketServer({ port: 0, host: '127.0.0.1', clientTracking: false });
await once(server, 'listening');
const sockets: WebSocket[] = [];
const allOpen = new Promise<void>(settle => {
  server.on('connection', socket => {
    sockets.push(socket);
    if (sockets.length === USERS) settle();
  });
});
tell({ said: 'listening', port: (server.address() as AddressInfo).port });
const asked = once(process, 'message');
await allOpen;

// What a socket allocates at its first write is its own, not the service's.
await Promise.all(
  sockets.map(socket => new Promise(done => socket.send('{"type":"hello"}', done))),
);
const userIds = sockets.map((_, index) => `user_${1000 + index}`);
const events = userIds.map(envelopesFor);
const beforeBytes = await settledHeap();
await asked;

const broadcast = takeOver();
// The hello, and every event.
let framesDue = USERS;
await serve(WARM_UP_ROUNDS);
const afterBytes = await settledHeap();
tell({
  said: 'took-over',
  framesDue,
  heapBytes: afterBytes - beforeBytes,
  processHeapBytes: afterBytes,
});

process.on('message', () => {
  void burst();
});
process.once('disconnect', () => process.exit());

async function burst(): Promise<void> {
  const before = process.cpuUsage();
  await serve(BURST_ROUNDS);
  const { user, system } = process.cpuUsage(before);
  const cpuUsPerEvent = (user + system) / (USERS * BURST_ROUNDS);
  tell({ said: 'burst', framesDue, cpuUsPerEvent });
}

/** Builds the service, gives it all sockets, and returns its own entry point. */
function takeOver(): (userId: string, event: BroadcastEvent) => Promise<unknown> {
  if (kind === 'ssot') {
    const service = createBroadcastService(new ConnectionManager());
    for (const [index, socket] of sockets.entries()) service.connect(userIds[index] ?? '', socket);
    return (userId, event) => service.broadcastToUser(userId, event);
  }
  const legacy = new LegacyBroadcaster();
  for (const [index, socket] of sockets.entries()) {
    const context = createUserExecutionContext(userIds[index] ?? '', {});
    legacy.connect(context, `conn_${index}`, socket);
  }
  return (userId, event) => legacy.router.broadcastToUser(userId, event);
}

/** Sends `rounds` events to every user, all users at a time, as a busy backend does. */
async function serve(rounds: number): Promise<void> {
  framesDue += USERS * rounds;
  for (let round = 0; round < rounds; round++) {
    await Promise.all(userIds.map((userId, index) => broadcast(userId, pick(index, round))));
    // A turn of the loop a round, so that sockets are served and their clients keep up.
    await new Promise(setImmediate);
  }
}

function pick(index: number, round: number): BroadcastEvent {
  const own = events[index];
  const event = own?.[round % own.length];
  if (event === undefined) throw new Error('no event');
  return event;
}

/** The four envelope shapes as a backend posts them: every service gets the very same. */
function envelopesFor(userId: string, index: number): readonly BroadcastEvent[] {
  const ids = { run_id: `run_${index}`, user_id: userId, agent_name: 'triage' };
  const timestamp = 1757953203.4;
  const text = 'Comparing spend by region and by month, the largest first. '.repeat(4);
  return [
    { type: 'tool_completed', data: { results: text }, timestamp, server_id: null },
    { type: 'agent_started', ...ids, timestamp, data: { status: 'started', message: text } },
    { timestamp, critical: true, attempt: null, type: 'agent_thinking', reasoning: text, ...ids },
    { type: 'status', payload: { text, recipient_id: userId }, timestamp, critical: false },
  ];
}

/** Live heap in bytes, once nothing more is collected. */
async function settledHeap(): Promise<number> {
  for (let pass = 0; pass < 4; pass++) {
    await new Promise(setImmediate);
    gc?.();
  }
  return process.memoryUsage().heapUsed;
}

function tell(message: FromChild): void {
  process.send?.(message);
}
