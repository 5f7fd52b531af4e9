// Writes in the bypass, given to the candidate as well while somebody there still waits to hear of them.
// A copy follows the bytes as they come in and holds nobody up; its answer is only noted.
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { RouteScope } from '../ports.ts';
import { failureOf } from './bypass-failure.ts';
import { onceConnected, sendHeadAtOnce } from './bypass-request.ts';
import { lookupShared } from './lookup.ts';
import type { Upstream } from './upstream.ts';
import type { Noted } from './write-outcomes.ts';

/** In the process; beyond that a slow candidate only loses its copies. */
const MOST_UNDER_WAY = 1_000;
/** And their bodies together; of one, as much as the other lane holds. */
const MOST_BYTES = 64 * 1_048_576;
const MOST_BODY_BYTES = 1_048_576;

export interface Copy {
  /** That it is a write of. */
  readonly route: string;
  readonly method: string;
  readonly path: string;
  /** Flat, with those that frame the body. */
  readonly fields: readonly string[];
}

export class BypassCopies {
  #underWay = 0;
  #bytes = 0;
  /** Those whose connection does not stand yet. */
  readonly #unsent = new Map<ClientRequest, Pick<Copy, 'route'> & { readonly noted: Noted }>();

  /** Copies that have no answer yet. */
  get underWay(): number {
    return this.#underWay;
  }

  /** To be called before the first byte of `incoming` is read. */
  send(incoming: IncomingMessage, upstream: Upstream, copy: Copy, noted: Noted): void {
    if (this.#underWay >= MOST_UNDER_WAY) return noted('overload');
    this.#underWay += 1;
    let bytes = 0;
    const { secure, host, port, ca, config } = upstream;
    const outgoing = (secure ? https : http).request({
      ...{ host, port, method: copy.method, path: copy.path, agent: false },
      ...{ headers: copy.fields, lookup: lookupShared },
      ...(ca === undefined ? {} : { ca }),
    });
    this.#unsent.set(outgoing, { route: copy.route, noted });
    const patience = setTimeout(() => {
      outgoing.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
    }, config.responseTimeoutMs).unref();
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      this.#bytes += chunk.length;
      patience.refresh();
      outgoing.write(chunk);
      if (bytes <= MOST_BODY_BYTES && this.#bytes <= MOST_BYTES) return;
      noted('overload');
      outgoing.destroy();
    };
    const onEnd = (): void => void outgoing.end();
    const onClose = (): void => {
      // Of what has come and was not read here, legacy has no more.
      if (!incoming.readableEnded) outgoing.destroy();
    };
    incoming.on('data', onData).once('end', onEnd).once('close', onClose);
    outgoing
      .once('socket', socket => {
        onceConnected(socket, () => this.#unsent.delete(outgoing));
        sendHeadAtOnce(outgoing, socket);
      })
      .once('response', answer => {
        noted(answer.statusCode ?? 502);
        answer.on('error', ignoreError).resume();
      })
      .on('error', error => noted(failureOf(error)))
      .once('close', () => {
        clearTimeout(patience);
        this.#unsent.delete(outgoing);
        incoming.off('data', onData).off('end', onEnd).off('close', onClose);
        // Whatever else it was that ended it.
        noted('upstream-closed');
        this.#underWay -= 1;
        this.#bytes -= bytes;
      });
  }

  /** The candidate gets no writes of those routes any more: what was not sent yet is split. */
  sever(routes: RouteScope): void {
    for (const [outgoing, { route, noted }] of this.#unsent) {
      if (!routes.has(route)) continue;
      noted('severed');
      outgoing.destroy();
    }
  }
}

function ignoreError(): void {
  // With its status the service has decided; the rest of the answer has no reader.
}
