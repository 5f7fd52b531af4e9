// Tickets that open one WebSocket each, for clients that can not send a token with the handshake.
import { randomBytes } from 'node:crypto';

/** Time to open a socket after asking for a ticket. */
export const TICKET_TTL_S = 30;
/** More than a service hands out in 30 s; the oldest go first. */
const MAX_TICKETS = 10_000;

export class Tickets {
  readonly #issued = new Map<string, { readonly userId: string; readonly expiresMs: number }>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  issue(userId: string): string {
    const [oldest] = this.#issued.keys();
    if (this.#issued.size >= MAX_TICKETS && oldest !== undefined) this.#issued.delete(oldest);
    const ticket = randomBytes(24).toString('base64url');
    this.#issued.set(ticket, { userId, expiresMs: this.#now() + TICKET_TTL_S * 1000 });
    return ticket;
  }

  /** The ticket's user, once; `undefined` for a ticket that is unknown, used or too old. */
  redeem(ticket: string): string | undefined {
    const entry = this.#issued.get(ticket);
    this.#issued.delete(ticket);
    return entry !== undefined && this.#now() < entry.expiresMs ? entry.userId : undefined;
  }
}
