// A service's refusal of a handshake, passed on as it is: status, fields and body. One that was cut
// short stays cut short.
import type net from 'node:net';
import { answerFraming, BodyTracker } from '../wire/body.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';
import { trailerFields, without } from '../wire/headers.ts';
import { type AnswerHead, headText, writeHead } from '../wire/http-head.ts';
import { phraseFor } from './answer.ts';
import { cutOff } from './cut-off.ts';
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
  const isChunked = framing.kind === 'chunked';
  const body = new BodyTracker(framing);
  const upstream = leg.socket;
  const timer = setTimeout(giveUp, limitMs);

  client.on('error', giveUp).on('close', giveUp);
  client.on('drain', () => upstream.resume());
  client.resume();
  upstream.on('error', onLost).on('end', onEnd).on('close', onLost);
  client.write(
    writeHead(`HTTP/1.1 ${answer.status} ${phraseFor(answer.status, answer.reason)}`, [
      ...fields,
      ...(isChunked ? ['Transfer-Encoding', 'chunked'] : []),
      'Connection',
      'close',
    ]),
  );
  leg.onBytes = onBytes;
  if (early.length > 0) onBytes(early);
  finishIfWhole();
  return true;

  function onBytes(view: Buffer): void {
    // The read buffer belongs to all legs: write a copy, in one piece however many chunks it came in.
    const gathered = new GatheredBytes(view.length);
    body.push(view, part => gathered.add(part));
    const content = gathered.take();
    if (content.length > 0 && !client.write(isChunked ? chunkOf(content) : content))
      upstream.pause();
    finishIfWhole();
  }
  function onEnd(): void {
    body.end();
    finishIfWhole();
  }
  function onLost(): void {
    if (body.state !== 'open') return;
    // Where the end of the connection would be the end of the body, only a reset says that it is not.
    if (framing?.kind === 'until-close') process.nextTick(cutOff, client);
    else onEnd();
  }
  function finishIfWhole(): void {
    if (client.writableEnded) return;
    if (body.state === 'complete') {
      upstream.destroy();
      if (isChunked) client.end(headText('0', trailerFields(body.trailers)), 'latin1');
      else client.end();
    } else if (body.state === 'invalid') {
      upstream.destroy();
      client.destroySoon();
    }
  }
  function giveUp(): void {
    clearTimeout(timer);
    upstream.destroy();
    client.destroy();
  }
}

/** What says something of a body that is not sent. */
const OF_BODY: ReadonlySet<string> = new Set([
  ...['content-length', 'content-type', 'content-encoding', 'transfer-encoding', 'trailer'],
]);

/** Also where it can not be told how long that is. */
export function hasBody(answer: AnswerHead): boolean {
  const framing = answerFraming(answer);
  return framing?.kind !== 'none' && (framing?.kind !== 'length' || framing.bytes > 0);
}

/** The same without its body, which nobody has looked into. */
export function relayRefusalAlone(
  client: net.Socket,
  leg: Leg,
  answer: AnswerHead,
  fields: readonly string[],
): void {
  leg.socket.destroy();
  const phrase = phraseFor(answer.status, answer.reason);
  client.end(
    writeHead(`HTTP/1.1 ${answer.status} ${phrase}`, [
      ...without(fields, OF_BODY),
      ...['Content-Length', '0', 'Connection', 'close'],
    ]),
  );
}

/** RFC 9112 7.1 */
function chunkOf(content: Buffer): Buffer {
  const size = Buffer.from(`${content.length.toString(16)}\r\n`);
  return Buffer.concat([size, content, Buffer.from('\r\n')]);
}
