// What was written to a socket and its peer has not taken, by the byte. Node counts a write as a whole, when
// the kernel has all of it, and the kernel says that it has room only when a third of what it holds is gone: on
// a fast link in front of a slow one that is a megabyte, which says nothing of the peer for minutes.
import fs from 'node:fs';
import type net from 'node:net';
import { setImmediate } from 'node:timers/promises';

/** All TCP sockets of this network, one a line (proc_net_tcp(5)); Linux only. */
const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];
/** A socket with something that is not acknowledged: how much, and further on its inode. */
const SENDING =
  / [\dA-F]{2} (?!0{8})([\dA-F]{8}):[\dA-F]{8} [\dA-F]{2}:[\dA-F]{8} [\dA-F]{8} +\d+ +\d+ (\d+) /g;
/** Searched at a time, in half a millisecond; then whatever else waits has its turn. */
const PIECE_BYTES = 262_144;
/** With 50,000 sockets they are megabytes: between two looks there are at least so many times what one takes. */
const REST = 10;
/** ... and no more than that, where what took long was that this process had to wait for its turn. */
const MOST_REST_MS = 2_000;

/** Looks that may come to nothing; then nobody can say, and a peer goes by what Node knows of him. */
const MOST_FAILURES = 3;

/** Null: nobody can say. */
type Answer = (bytes: number | null) => void;

/** Of a socket at one time: its inode, and what of its writes the kernel has not. */
interface Queue {
  readonly inode: string;
  readonly bytes: number;
}

/** What Node has below a socket; public by no name, and unknown where it has another one some day. */
interface Handled {
  readonly _handle: { readonly fd?: number; readonly writeQueueSize?: number } | null;
}

/** What is to be known by the next look at the tables. */
let asked: { readonly queues: readonly Queue[]; readonly answer: Answer }[] = [];
let isReading = false;
let isBlind = false;

/** Watches a peer that seems to take nothing. */
export class UnsentBytes {
  /** ms of `performance.now()`, when it was last seen that some were taken. */
  movedMs = Number.NEGATIVE_INFINITY;
  /** As of the last look; 0 where nobody can say. */
  bytes = 0;
  /** Looks since some were taken. */
  #looks = 0;
  #failures = 0;
  #isAsking = false;

  get isKnown(): boolean {
    return this.#looks > 0;
  }

  /** Nothing was taken between two looks, or nobody can say. */
  get isStill(): boolean {
    return this.#looks > 1;
  }

  /** What these sockets have together is known some time later. Nothing may have been written in between. */
  look(sockets: readonly net.Socket[]): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    ask(sockets, bytes => {
      this.#isAsking = false;
      // It can not be said now, and perhaps the next time; without descriptors, not for as long as they last.
      if (bytes === null && !isBlind && ++this.#failures < MOST_FAILURES) return;
      const hasMoved = this.#looks > 0 && bytes !== null && bytes !== this.bytes;
      if (hasMoved) this.movedMs = performance.now();
      this.#looks = bytes === null ? Number.POSITIVE_INFINITY : hasMoved ? 1 : this.#looks + 1;
      this.bytes = bytes ?? 0;
    });
  }
}

function ask(sockets: readonly net.Socket[], answer: Answer): void {
  if (isBlind) return answer(null);
  const queues = sockets.flatMap(queueOf);
  if (queues.length === 0) return answer(0);
  asked.push({ queues, answer });
  // All that are asked about in one sweep by one look.
  if (isReading) return;
  isReading = true;
  void setImmediate().then(read);
}

/** None of a socket that is closed. */
function queueOf(socket: net.Socket): Queue[] {
  const { _handle: handle } = socket as unknown as Handled;
  const fd = handle?.fd ?? -1;
  if (fd < 0) return [];
  return [{ inode: String(fs.fstatSync(fd).ino), bytes: handle?.writeQueueSize ?? 0 }];
}

async function read(): Promise<void> {
  const answers = asked;
  asked = [];
  const startMs = performance.now();
  const wanted = new Set(answers.flatMap(({ queues }) => queues.map(({ inode }) => inode)));
  const found = await unsentByInode(wanted);
  for (const { queues, answer } of answers) {
    if (found === null) answer(null);
    else answer(queues.reduce((sum, { inode, bytes }) => sum + bytes + (found.get(inode) ?? 0), 0));
  }
  setTimeout(
    () => {
      if (asked.length > 0) return void read();
      isReading = false;
    },
    Math.min(REST * (performance.now() - startMs), MOST_REST_MS),
  ).unref();
}

async function unsentByInode(wanted: ReadonlySet<string>): Promise<Map<string, number> | null> {
  const found = new Map<string, number>();
  for (const table of TABLES) {
    let text: string;
    try {
      text = await fs.promises.readFile(table, 'latin1');
    } catch (error) {
      const isAbsent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      // Without IPv6 there is one table; without the first one this is no Linux, and it is not asked again.
      if (isAbsent && table !== TABLES[0]) continue;
      isBlind = isAbsent;
      return null;
    }
    for (let at = 0; at < text.length; ) {
      const end = text.indexOf('\n', at + PIECE_BYTES);
      const lines = text.slice(at, end === -1 ? text.length : end);
      for (const [, unsent = '', inode = ''] of lines.matchAll(SENDING)) {
        if (wanted.has(inode)) found.set(inode, Number.parseInt(unsent, 16));
      }
      at += lines.length;
      await setImmediate();
    }
  }
  return found;
}
