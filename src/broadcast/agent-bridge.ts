// Lets an agent tell its user what it does: the five critical events, in order, one after another.
import { setTimeout as delay } from 'node:timers/promises';
import { agentRun } from './agent-run.ts';
import type { Envelopes } from './envelopes.ts';
import { type BroadcastEvent, nowMs } from './event.ts';
import type { UserExecutionContext } from './user-context.ts';

export class AgentWebSocketBridge {
  readonly #envelopes: Envelopes;
  readonly #broadcast: (context: UserExecutionContext, event: BroadcastEvent) => Promise<unknown>;
  readonly #delayMs: number;

  /** `broadcast` sends to the context's user and nobody else; `delayMs` is the pause between steps. */
  constructor(
    envelopes: Envelopes,
    broadcast: (context: UserExecutionContext, event: BroadcastEvent) => Promise<unknown>,
    delayMs = 0,
  ) {
    this.#envelopes = envelopes;
    this.#broadcast = broadcast;
    this.#delayMs = delayMs;
  }

  /** Runs the agent once. Ends early, without an error, when `signal` is aborted. */
  async run(context: UserExecutionContext, signal?: AbortSignal): Promise<void> {
    for (const step of agentRun(context)) {
      if (signal?.aborted) return;
      // One clock read an event: all its copies carry the same time.
      await this.#broadcast(context, this.#envelopes.step(context, step, nowMs()));
      if (this.#delayMs > 0) await this.#pause(signal);
    }
  }

  async #pause(signal: AbortSignal | undefined): Promise<void> {
    try {
      await delay(this.#delayMs, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      if (!signal?.aborted) throw error;
    }
  }
}
