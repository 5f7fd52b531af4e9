// One WebSocket through the real lane, its two services, and its client, all played by a test: what any
// of them says is real frames that arrive in pieces of any length, in the order that the test chooses.
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type net from 'node:net';
import pino from 'pino';
import { vi } from 'vitest';
import type { Decision, Side } from '../../src/rules/decide.ts';
import { contextOf } from '../../src/traffic/context.ts';
import { Counters } from '../../src/traffic/counters.ts';
import { Handovers } from '../../src/traffic/handovers.ts';
import { RollbackRun } from '../../src/traffic/rollback-run.ts';
import type { Upstream } from '../../src/traffic/upstream.ts';
import { WebSocketLane } from '../../src/traffic/ws-lane.ts';
import { closeFrame, OPCODE } from '../../src/wire/frames.ts';
import { acceptFor } from '../../src/wire/handshake.ts';
import { MessageReader } from '../../src/wire/message-reader.ts';
import { ControlFrames } from './control-frames.ts';
import { Ear } from './ear.ts';
import { clientFrame, frame } from './frame.ts';
import { PlayedSocket } from './played-socket.ts';
import { decisionFor, loadedConfig } from './proxy.ts';

export const RUNS = ['r1', 'r2', 'bare'] as const;
export type Run = (typeof RUNS)[number];
const ROUTE = 'events';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const other = (side: Side): Side => (side === 'legacy' ? 'candidate' : 'legacy');
/** Before any timer was played. */
const realTurn = setImmediate;

/**
 * The text of the n-th event of a run. Of the bare run there is no key; of the others every fourth event
 * says what the one before it said, if services repeat themselves.
 */
export function textOf(run: Run, n: number, repeats: boolean): string {
  if (run === 'bare') return `note ${n}`;
  const seq = repeats && n % 4 === 3 ? n - 1 : n;
  return JSON.stringify({ type: 'step', run_id: run, seq, text: 'x'.repeat((seq * 7) % 150) });
}

/** A connection as its service sees it. */
class Connection {
  readonly socket: PlayedSocket;
  readonly heard: string[] = [];
  readonly pongs: string[] = [];
  pinged: string | null = null;
  /** The service is in the middle of a message to it. */
  inMessage = false;
  isOpen = false;
  /** The service has said goodbye, or been told. */
  isOver = false;
  #head = '';
  readonly #greeting: readonly Buffer[];
  readonly #reader = new MessageReader(
    {
      message: (_opcode, payload) => void this.heard.push(payload.toString()),
      tooLong: () => undefined,
    },
    1e6,
  );
  readonly #controls = new ControlFrames((opcode, payload) => this.#control(opcode, payload));

  constructor(onread: net.OnReadOpts | undefined, greeting: readonly Buffer[]) {
    this.#greeting = greeting;
    this.socket = new PlayedSocket({ onread, hear: bytes => this.#hear(bytes) });
    this.socket.on('close', () => {
      this.isOver = true;
    });
  }

  get isGarbled(): boolean {
    return this.#reader.lost;
  }

  say(bytes: Uint8Array): void {
    if (this.isOpen && !this.isOver) this.socket.say(bytes);
  }

  close(code: number): void {
    this.say(closeFrame(code));
    this.isOver = true;
  }

  #hear(bytes: Buffer): void {
    if (this.isOpen) return this.#read(bytes);
    this.#head += bytes.toString('latin1');
    const end = this.#head.indexOf('\r\n\r\n');
    if (end < 0) return;
    const key = /sec-websocket-key: (\S+)/i.exec(this.#head)?.[1] ?? '';
    const rest = Buffer.from(this.#head.slice(end + 4), 'latin1');
    const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(key)}\r\n\r\n`;
    this.socket.say(Buffer.from(head));
    this.isOpen = true;
    for (const message of this.#greeting) this.say(message);
    this.#read(rest);
  }

  #read(bytes: Buffer): void {
    this.#reader.push(bytes);
    this.#controls.push(bytes);
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.ping) this.say(frame(OPCODE.pong, { payload }));
    if (opcode === OPCODE.pong) this.pongs.push(payload.toString());
    if (opcode !== OPCODE.close) return;
    if (!this.isOver) this.say(frame(OPCODE.close, { payload }));
    this.isOver = true;
    this.socket.sayNoMore();
  }
}

/** A service: it says the same events as the other one, each at its own pace. */
class Service {
  readonly connections: Connection[] = [];
  readonly next: Record<Run, number> = { r1: 0, r2: 0, bare: 0 };
  isDown = false;
  #rest: Buffer[] = [];
  #pings = 0;
  readonly #side: Side;
  readonly #repeats: boolean;

  constructor(side: Side, repeats: boolean) {
    this.#side = side;
    this.#repeats = repeats;
  }

  dialled(onread: net.OnReadOpts | undefined): PlayedSocket {
    const text = (payload: string) => frame(OPCODE.text, { payload });
    // What it has said it says again to whoever is new, but for the first.
    const replays =
      this.connections.length === 0 || this.next.r1 === 0
        ? []
        : [JSON.stringify({ type: 'step', run_id: 'r1', seq: 0, recovered: true })];
    const connection = new Connection(onread, [
      text(`{"type":"hello","from":"${this.#side}"}`),
      ...replays.map(text),
    ]);
    this.connections.push(connection);
    const { socket } = connection;
    process.nextTick(() => {
      if (this.isDown) socket.destroy(new Error('refused'));
      else socket.emit('connect');
    });
    return socket;
  }

  get open(): readonly Connection[] {
    return this.connections.filter(({ isOpen, isOver }) => isOpen && !isOver);
  }

  /** The next event of a run, in so many frames, with pings between them; `half` keeps the last one back. */
  say(run: Run, frames: number, { half = false, pings = false } = {}): void {
    if (this.#rest.length > 0) return this.finish();
    const payload = Buffer.from(textOf(run, this.next[run], this.#repeats));
    this.next[run] += 1;
    const each = Math.ceil(payload.length / frames);
    const parts = Array.from({ length: frames }, (_, i) =>
      frame(i === 0 ? OPCODE.text : OPCODE.continuation, {
        payload: payload.subarray(i * each, (i + 1) * each),
        fin: i === frames - 1,
      }),
    );
    for (const connection of this.open) connection.inMessage = true;
    this.#rest = parts;
    const now = half ? parts.length - 1 : parts.length;
    for (let i = 0; i < now; i += 1) {
      this.#pass(this.#rest.shift() as Buffer);
      if (pings) this.ping();
    }
  }

  /** What it is in the middle of comes to its end. */
  finish(): void {
    for (const part of this.#rest.splice(0)) this.#pass(part);
  }

  ping(): void {
    this.#pings += 1;
    const payload = `${this.#side} ${this.#pings}`;
    for (const connection of this.open) {
      connection.pinged = payload;
      connection.say(frame(OPCODE.ping, { payload }));
    }
  }

  #pass(part: Buffer): void {
    const isLast = this.#rest.length === 0;
    for (const connection of this.open) {
      if (connection.inMessage) connection.say(part);
      if (isLast) connection.inMessage = false;
    }
  }
}

/** What the client has had. */
class Client {
  readonly socket: PlayedSocket;
  readonly read: string[] = [];
  readonly pongs: string[] = [];
  readonly said: string[] = [];
  pinged: string | null = null;
  closes: number[] = [];
  /** Anything came behind a close frame. */
  heardAfterClose = false;
  hasClosed = false;
  #head: Buffer | null = Buffer.alloc(0);
  #rest: Buffer[] = [];
  readonly #reader = new MessageReader(
    {
      message: (_opcode, payload) => void this.read.push(payload.toString()),
      tooLong: () => undefined,
    },
    1e6,
  );
  readonly #controls = new ControlFrames((opcode, payload) => this.#control(opcode, payload));

  constructor() {
    this.socket = new PlayedSocket({ hear: bytes => this.#hear(bytes), room: 600 });
  }

  get isIn(): boolean {
    return this.#head === null;
  }

  get isGarbled(): boolean {
    return this.#reader.lost;
  }

  say(frames: number, half: boolean): void {
    if (this.hasClosed) return;
    if (this.#rest.length > 0) return this.finish();
    const payload = Buffer.from(`said ${this.said.length}`);
    this.said.push(payload.toString());
    const each = Math.ceil(payload.length / frames);
    const parts = Array.from({ length: frames }, (_, i) =>
      clientFrame(i === 0 ? OPCODE.text : OPCODE.continuation, {
        payload: payload.subarray(i * each, (i + 1) * each),
        fin: i === frames - 1,
      }),
    );
    const now = half ? frames - 1 : frames;
    for (const part of parts.slice(0, now)) this.socket.say(part);
    this.#rest = parts.slice(now);
  }

  finish(): void {
    for (const part of this.#rest.splice(0)) if (!this.hasClosed) this.socket.say(part);
  }

  ping(): void {
    if (this.hasClosed) return;
    this.pinged = `client ${this.said.length} ${this.pongs.length}`;
    this.socket.say(clientFrame(OPCODE.ping, { payload: this.pinged }));
  }

  close(): void {
    if (this.hasClosed) return;
    this.finish();
    this.socket.say(clientFrame(OPCODE.close, { payload: Buffer.from([0x03, 0xe8]) }));
    this.hasClosed = true;
  }

  #hear(bytes: Buffer): void {
    let from = bytes;
    if (this.#head !== null) {
      this.#head = Buffer.concat([this.#head, bytes]);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      from = this.#head.subarray(end + 4);
      this.#head = null;
    }
    if (from.length > 0 && this.closes.length > 0) this.heardAfterClose = true;
    this.#reader.push(from);
    this.#controls.push(from);
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.ping && !this.hasClosed) {
      this.socket.say(clientFrame(OPCODE.pong, { payload }));
    }
    if (opcode === OPCODE.pong) this.pongs.push(payload.toString());
    if (opcode !== OPCODE.close) return;
    this.closes.push(payload.length < 2 ? 1005 : payload.readUInt16BE(0));
    if (!this.hasClosed) this.socket.say(clientFrame(OPCODE.close, { payload }));
    this.hasClosed = true;
    this.socket.sayNoMore();
  }
}

/** Timers are to be played (`vi.useFakeTimers`), and `connect` of `traffic/upstream.ts` this one's. */
export class PlayedSession {
  readonly services: Readonly<Record<Side, Service>>;
  readonly repeats: boolean;
  readonly client = new Client();
  readonly lane: WebSocketLane;
  unknown = 0;
  missing = 0;
  readonly moves: string[] = [];
  readonly ends: string[] = [];
  decision: Decision;

  constructor(
    primary: Side,
    withSecond: boolean,
    { repeats = true, ...limits }: { boundaryMs?: number; repeats?: boolean } = {},
  ) {
    this.repeats = repeats;
    this.services = {
      legacy: new Service('legacy', repeats),
      candidate: new Service('candidate', repeats),
    };
    this.decision = decided(primary, withSecond);
    const loaded = loadedConfig({
      ...{ legacy: 1, candidate: 2, limits: { closeMs: 2_000, stallMs: 3_600_000, ...limits } },
      routes: [
        {
          ...{
            name: ROUTE,
            path: '/ws',
            protocol: 'websocket',
            mirror: 'all',
            greeting: ['hello'],
          },
          compare: { allow: [{ path: '/recovered', as: 'replay' }] },
        },
      ],
    });
    const context = contextOf(loaded);
    this.lane = new WebSocketLane({
      ...{ context: () => context, counters: new Counters(), tap: new Ear() },
      decider: () => ({ decision: this.decision, revision: 'test' }),
      twins: { take: () => false, isOn: () => false },
      logger: pino({ level: 'silent' }),
      unrouted: () => undefined,
      bypassed: () => undefined,
      onExhausted: () => undefined,
      isolation: {
        fits: () => true,
        prevented: () => undefined,
        narrowed: () => undefined,
        failed: () => undefined,
        uninspected: () => undefined,
      },
      observer: {
        sessionOpened: () => undefined,
        sessionClosed: (_route, _side, cause, code) => void this.ends.push(`${cause} ${code}`),
        handshakeRefused: () => undefined,
        failed: (_route, _side, code) => void this.ends.push(code),
        sessionMoved: (_route, side, how) => void this.moves.push(`${side} ${how}`),
        handoverCounted: ({ unknown, missing }) => {
          this.unknown += unknown;
          this.missing += missing;
        },
        secondLegEnded: () => undefined,
        sessionKept: () => undefined,
        requestDone: () => undefined,
      },
    });
  }

  readonly connect = ({ side }: Upstream, onread?: net.OnReadOpts): net.Socket =>
    this.services[side].dialled(onread) as unknown as net.Socket;

  /** The client is in, and so is its second leg, if there is to be one. */
  async open(): Promise<void> {
    const { socket } = this.client;
    const incoming = Object.assign(new EventEmitter(), {
      ...{ method: 'GET', httpVersion: '1.1', url: '/ws', socket },
      rawHeaders: [
        ...['Host', 'h', 'Upgrade', 'websocket', 'Connection', 'Upgrade'],
        ...['Sec-WebSocket-Version', '13', 'Sec-WebSocket-Key', KEY],
      ],
    }) as unknown as IncomingMessage;
    void this.lane.open(incoming, socket as unknown as net.Socket, Buffer.alloc(0));
    await this.turn();
    for (const side of ['legacy', 'candidate'] as const) {
      for (const { socket: leg } of this.services[side].connections) leg.arrive();
      await this.turn();
    }
  }

  /** What is due in this turn is done: promises, ticks, immediates. */
  async turn(): Promise<void> {
    await new Promise(resolve => realTurn(resolve));
  }

  /** So many ms go by. */
  async pass(ms: number): Promise<void> {
    vi.advanceTimersByTime(ms);
    await this.turn();
  }

  /** Flags say that side, and whether the other one stands beside it. */
  serve(primary: Side, withSecond: boolean): void {
    this.decision = decided(primary, withSecond);
    void this.lane.reconsider();
  }

  /** `late`: others are told of it before, and the session in a later turn. */
  rollBack(withSecond: boolean, late = false): RollbackRun {
    this.decision = decided('legacy', withSecond);
    const run = new RollbackRun(new Set([ROUTE]), ended => {
      // Where it meets nobody the next change of flags is as good.
      if (ended.sessions.affected > 0) this.lane.rolledBack(ended);
    });
    const look = vi.spyOn(Handovers.prototype, 'lookAt');
    if (late) {
      look.mockImplementation((all, visit, over) => {
        setImmediate(() => {
          for (const session of all) visit(session);
          over();
        });
      });
    }
    this.lane.rollBack(run);
    look.mockRestore();
    return run;
  }

  /** Everything that is under way arrives, and what is due is done. */
  async calm(): Promise<void> {
    const { legacy, candidate } = this.services;
    for (let [quiet, turns] = [0, 0]; quiet < 4; turns += 1) {
      if (turns > 4_000) throw new Error('somebody does not read, and will not');
      const sockets = [this.client.socket];
      for (const { connections } of [legacy, candidate])
        for (const { socket } of connections) sockets.push(socket);
      const before = sockets.reduce((sum, { underWay }) => sum + underWay, 0);
      for (const socket of sockets) socket.arrive();
      await this.pass(1);
      quiet = before === 0 ? quiet + 1 : 0;
    }
  }

  close(): void {
    this.lane.close();
  }
}

function decided(primary: Side, withSecond: boolean): Decision {
  const side = other(primary);
  const role = side === 'legacy' ? 'standby' : 'shadow';
  return { ...decisionFor(primary), second: withSecond ? { side, role } : null };
}
