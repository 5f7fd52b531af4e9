// Client connections on which nothing has been said yet: browsers open some ahead of need, and balancers keep more
// than they use. node:http leaves them alone for `limits.headersTimeoutMs`, and then sends a 408.
import type { Socket } from 'node:net';
import { type Member, Roll } from './roll.ts';

interface Newcomer extends Member {
  readonly socket: Socket;
  readonly roll: Roll<Newcomer>;
  /** In ms of `performance.now()`. */
  readonly sinceMs: number;
}

const kNewcomer = Symbol('newcomer');
type NewSocket = Socket & { [kNewcomer]?: Newcomer | undefined };

export class Newcomers {
  readonly #roll = new Roll<Newcomer>();

  /** Looks after a connection until it closes, or `spoke`. */
  add(socket: NewSocket): void {
    const newcomer = { place: -1, socket, roll: this.#roll, sinceMs: performance.now() };
    this.#roll.add(newcomer);
    socket[kNewcomer] = newcomer;
    socket.on('close', leave);
  }

  /** It is none any more, and costs nothing from then on. */
  spoke(socket: NewSocket): void {
    if (socket[kNewcomer] === undefined) return;
    leave.call(socket);
    socket.off('close', leave);
  }

  /** Closes those of whom no byte has come in the `forMs` since they connected. */
  closeSilent(forMs: number): void {
    const untilMs = performance.now() - forMs;
    this.#roll.each(({ socket, sinceMs }) => {
      if (socket.bytesRead === 0 && sinceMs <= untilMs) socket.destroy();
    });
  }
}

function leave(this: NewSocket): void {
  const newcomer = this[kNewcomer];
  if (newcomer === undefined) return;
  this[kNewcomer] = undefined;
  newcomer.roll.delete(newcomer);
}
