// A service's refusal of a handshake, passed on as it is: status, fields and body. One that was cut
// short stays cut short.
import type net from 'node:net';
import { answerFraming, BodyTracker } from '../wire/body.ts';
import { type AnswerHead, writeHead } from '../wire/http-head.ts';
import type { Leg } from './leg.ts';

/**
 * Sends the answer, with `fields` for its own, and its body, which begins with `early`, to the client
 * and closes both ends. Returns false, with nothing sent, if the body's length is ambiguous. `limitMs`
 * bounds the whole.
 */
export function relayRefusal(
  client: net.Socket,
  leg: Leg,
  {
    answer,
    fields,
    early,
  }: { readonly answer: AnswerHead; readonly fields: readonly string[]; readonly early: Buffer },
  limitMs: number,
): boolean {
  const framing = answerFraming(answer);
  if (framing === null) {
    leg.socket.destroy();
    return false;
  }
  const body = new BodyTracker(framing);
  const upstream = leg.socket;
  const timer = setTimeout(cutOff, limitMs);

  client.on('error', cutOff).on('close', cutOff);
  client.on('drain', () => upstream.resume());
  client.resume();
  upstream.on('error', onEnd).on('end', onEnd).on('close', onEnd);
  client.write(
    writeHead(`HTTP/1.1 ${answer.status} ${answer.reason}`, [
      ...fields,
      ...(framing.kind === 'chunked' ? ['Transfer-Encoding', 'chunked'] : []),
      'Connection',
      'close',
    ]),
  );
  leg.onBytes = onBytes;
  if (early.length > 0) onBytes(early);
  finishIfWhole();
  return true;

  function onBytes(view: Buffer): void {
    const taken = body.push(view);
    // The read buffer belongs to all legs: write a copy.
    if (taken > 0 && !client.write(Buffer.from(view.subarray(0, taken)))) upstream.pause();
    finishIfWhole();
  }
  function onEnd(): void {
    body.end();
    finishIfWhole();
  }
  function finishIfWhole(): void {
    if (body.state === 'complete') {
      upstream.destroy();
      client.end();
    } else if (body.state === 'invalid') {
      upstream.destroy();
      client.destroySoon();
    }
  }
  function cutOff(): void {
    clearTimeout(timer);
    upstream.destroy();
    client.destroy();
  }
}
