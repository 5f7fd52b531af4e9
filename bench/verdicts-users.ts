// Users whose streams are compared: each has one WebSocket through the proxy and runs under way, told
// to the services by the user himself or posted by a backend.
import { once } from 'node:events';
import http from 'node:http';
import { WebSocket } from 'ws';
import { CRITICAL_EVENTS } from '../src/broadcast/event.ts';
import { mintToken, tokenSubprotocols } from '../src/broadcast/token.ts';
import { SECRET } from './user.ts';

/** Of so many runs one is posted by a backend, an event a request; the rest the user starts. */
const POSTED_EVERY = 10;
/** Of one user at a time, so that lanes interleave. */
const RUNS_AT_ONCE = 4;
/** Five events with their jitter take half a second; a machine that is busy takes its time. */
const RUN_MS = 60_000;
/** What clients say between runs, and are answered. */
const SMALL_TALK = ['ping', 'heartbeat', 'confirmation'] as const;

export interface Drive {
  readonly listen: string;
  readonly users: number;
  /** Asked with how many runs, of five events each, were begun. */
  readonly isOver: (begun: number) => boolean;
  readonly onRun: (run: string, user: string) => void;
  /**
   * In one of so many runs its user leaves and connects anew, with others of his under way: by turns with a goodbye
   * and without. Null: nobody does.
   */
  readonly runsAReturn: number | null;
  /** Awaited before every run. */
  readonly pace: () => Promise<void>;
}

export interface Driven {
  /** Events that users read: all that legacy sent them. */
  readonly delivered: number;
  /** How often one of them connected anew. */
  readonly returned: number;
  close(): Promise<void>;
}

/** Returns once every run is complete at its user, or was left by him; the sockets stay open. */
export async function driveUsers(drive: Drive): Promise<Driven> {
  const { listen, users, isOver, runsAReturn, onRun, pace } = drive;
  let begun = 0;
  let returned = 0;
  let delivered = 0;
  const everybody: User[] = [];
  for (let index = 0; index < users; index += 1) {
    everybody.push(await User.login(listen, `user_${1001 + index}`, () => (delivered += 1)));
  }
  const keepRunning = async (user: User): Promise<void> => {
    for (;;) {
      await pace();
      if (isOver(begun)) return;
      const nth = begun++;
      const run = `run_${nth.toString(36)}`;
      onRun(run, user.id);
      const complete = user.completionOf(run);
      // Awaited below, unless posting fails first.
      complete.catch(() => undefined);
      if (nth % POSTED_EVERY === 0) await user.post(run, nth);
      else user.start(run, nth);
      if (nth % 7 === 0) user.say({ type: SMALL_TALK[nth % SMALL_TALK.length], message_id: run });
      if (runsAReturn !== null && nth % runsAReturn === runsAReturn - 1) {
        returned += 1;
        await user.comeAnew(nth % 2 === 0);
      }
      await complete;
    }
  };
  const close = async () => {
    await Promise.all(everybody.map(user => user.leave()));
  };
  try {
    await Promise.all(
      everybody.flatMap(user => Array.from({ length: RUNS_AT_ONCE }, () => keepRunning(user))),
    );
  } catch (error) {
    await close();
    throw error;
  }
  return {
    get delivered() {
      return delivered;
    },
    ...{ returned },
    close,
  };
}

class User {
  readonly id: string;
  readonly #listen: string;
  readonly #onEvent: () => void;
  readonly #waiting = new Map<string, (error?: Error) => void>();
  #socket: WebSocket | null = null;
  /** Settles once he is connected. */
  #connected: Promise<unknown> = Promise.resolve();

  private constructor(id: string, listen: string, onEvent: () => void) {
    this.id = id;
    this.#listen = listen;
    this.#onEvent = onEvent;
  }

  static async login(listen: string, id: string, onEvent: () => void): Promise<User> {
    const user = new User(id, listen, onEvent);
    await user.#connect();
    return user;
  }

  /** Leaves and connects; runs that were under way are as good as complete to him. */
  async comeAnew(saysGoodbye: boolean): Promise<void> {
    // One after another, should it come to that twice.
    this.#connected = this.#connected
      .then(() => this.#leave(saysGoodbye))
      .then(() => this.#connect());
    await this.#connected;
    for (const done of [...this.#waiting.values()]) done();
  }

  async #connect(): Promise<void> {
    const url = `${this.#listen.replace(/^http/, 'ws')}/ws`;
    const socket = new WebSocket(url, tokenSubprotocols(await mintToken(SECRET, this.id)));
    this.#socket = socket;
    socket.on('message', data => {
      this.#onEvent();
      const { type, run_id } = JSON.parse(String(data));
      if (type === 'agent_completed') this.#waiting.get(run_id)?.();
    });
    socket.on('close', code => {
      if (this.#socket !== socket) return;
      for (const [run, done] of this.#waiting) done(new Error(`${this.id} lost ${run}: ${code}`));
    });
    await once(socket, 'open');
  }

  completionOf(run: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = () => done(new Error(`${run} of ${this.id} is not complete in time`));
      const timer = setTimeout(late, RUN_MS);
      const done = (error?: Error) => {
        clearTimeout(timer);
        this.#waiting.delete(run);
        if (error === undefined) resolve();
        else reject(error);
      };
      this.#waiting.set(run, done);
    });
  }

  start(run: string, nth: number): void {
    // One kind is acknowledged, the other is not.
    const type = nth % 2 === 0 ? 'user_message' : 'start_agent';
    this.say({ type, run_id: run, message_id: run, message: `question ${nth}` });
  }

  /** The events of a run one after another, in the envelopes that a backend uses. */
  async post(run: string, nth: number): Promise<void> {
    // What goes over one connection reaches both services in order; one that is idle may be closed.
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    try {
      for (const event of postedRun(this.id, run, nth)) {
        const body = JSON.stringify({ user_id: this.id, event });
        await request(agent, `${this.#listen}/broadcast`, body);
      }
    } finally {
      agent.destroy();
    }
  }

  say(message: object): void {
    const send = () => this.#socket?.send(JSON.stringify(message));
    if (this.#socket?.readyState === WebSocket.OPEN) send();
    // Whoever connects anew says it then; that he could not ends the benchmark by itself.
    else this.#connected.then(send, () => undefined);
  }

  async leave(): Promise<void> {
    // Whoever is just connecting has to be there to leave; that he could not was told where it happened.
    await this.#connected.catch(() => undefined);
    await this.#leave(true);
  }

  async #leave(saysGoodbye: boolean): Promise<void> {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null || socket.readyState === WebSocket.CLOSED) return;
    const closed = once(socket, 'close');
    if (saysGoodbye) socket.close(1000);
    else socket.terminate();
    await closed;
  }
}

function postedRun(user: string, run: string, nth: number): readonly object[] {
  return CRITICAL_EVENTS.map((type, step) => {
    const ids = { run_id: run, user_id: user, thread_id: `thread of ${run}`, sender_id: 'agent_b' };
    const detail = { message: `step ${step} of run ${nth}`, step };
    const shapes = [
      { type, ...ids, agent_name: 'triage', data: detail },
      { critical: true, attempt: null, type, ...ids, ...detail, parent: null },
      { type, ...ids, data: detail, server_id: null, correlation_id: null },
      { type, ...ids, payload: detail, critical: false },
    ] as const;
    return shapes[(nth / POSTED_EVERY + step) % shapes.length] ?? shapes[0];
  });
}

function request(agent: http.Agent, url: string, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const sent = http.request(url, { method: 'POST', agent, headers }, answer => {
      answer.resume();
      answer.once('error', reject);
      answer.once('end', () => {
        if (answer.statusCode === 200) resolve();
        else reject(new Error(`a posted event was answered with ${answer.statusCode}`));
      });
    });
    sent.once('error', reject);
    sent.end(body);
  });
}
