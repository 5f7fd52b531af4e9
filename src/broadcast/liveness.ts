// Pings every open WebSocket and drops those that no longer answer. One timer for all of them.
import type { WebSocket } from 'ws';

export interface LivenessTimes {
  readonly pingEveryMs: number;
  readonly pongWithinMs: number;
}

/** Those of the real services. */
export const LIVENESS: LivenessTimes = { pingEveryMs: 20_000, pongWithinMs: 20_000 };

interface Pulse {
  pingedMs: number;
  answered: boolean;
}

export class Liveness {
  readonly #times: LivenessTimes;
  readonly #pulses = new Map<WebSocket, Pulse>();
  readonly #timer: NodeJS.Timeout;
  #dropped = 0;

  constructor(times: LivenessTimes) {
    this.#times = times;
    const sweepMs = Math.max(5, Math.min(times.pingEveryMs, times.pongWithinMs) / 8);
    this.#timer = setInterval(() => this.#sweep(performance.now()), sweepMs);
    this.#timer.unref();
  }

  get dropped(): number {
    return this.#dropped;
  }

  watch(socket: WebSocket): void {
    const pulse: Pulse = { pingedMs: performance.now(), answered: true };
    this.#pulses.set(socket, pulse);
    socket.on('pong', () => {
      pulse.answered = true;
    });
    socket.once('close', () => this.#pulses.delete(socket));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sweep(nowMs: number): void {
    for (const [socket, pulse] of this.#pulses) {
      const sinceMs = nowMs - pulse.pingedMs;
      if (!pulse.answered && sinceMs >= this.#times.pongWithinMs) {
        this.#dropped++;
        socket.terminate();
      } else if (pulse.answered && sinceMs >= this.#times.pingEveryMs) {
        pulse.pingedMs = nowMs;
        pulse.answered = false;
        if (socket.readyState === socket.OPEN) socket.ping();
      }
    }
  }
}
