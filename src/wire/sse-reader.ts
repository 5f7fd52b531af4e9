// Server-sent events out of a byte stream cut anywhere (WHATWG HTML, 9.2.6 Interpreting an event
// stream), bounded.
import { StringDecoder } from 'node:string_decoder';

export interface SseEvent {
  /** `event:`, or `message` without one. */
  readonly event: string;
  /** Lines of `data:`, joined by line feeds. */
  readonly data: string;
  /** `id:` of this very event; null without one. */
  readonly id: string | null;
}

export interface SseSink {
  event(event: SseEvent): void;
  /** An event of more than `maxChars` ended; it was not kept. */
  tooLong(): void;
  /** A piece of such an event, in order, as it was written. */
  overlong?(part: string): void;
}

/** Reads one stream. Blocks without `data` are no events (9.2.6), and so are comments. */
export class SseReader {
  readonly #sink: SseSink;
  readonly #maxChars: number;
  #decoder = new StringDecoder('utf8');
  /** What has come of a line that has not ended. */
  #line = '';
  /** The last piece ended in CR; an LF that follows belongs to it. */
  #afterCr = false;
  #first = true;
  #chars = 0;
  #event = '';
  #data: string[] = [];
  #id: string | null = null;
  /** After a gap: nothing counts until the next blank line. */
  #lost = false;

  constructor(sink: SseSink, maxChars: number) {
    this.#sink = sink;
    this.#maxChars = maxChars;
  }

  /** Bytes are missing here: whatever has begun is forgotten, and so is all up to the next event. */
  skipToNextEvent(): void {
    this.#decoder = new StringDecoder('utf8');
    this.#line = '';
    this.#afterCr = false;
    this.#forget();
    this.#lost = true;
  }

  push(bytes: Buffer): void {
    let text = this.#decoder.write(bytes);
    if (this.#first && text !== '') {
      this.#first = false;
      // One byte order mark at the start of the stream is not part of it.
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    if (this.#afterCr && text !== '') {
      this.#afterCr = false;
      if (text.charCodeAt(0) === 0x0a) text = text.slice(1);
    }
    let from = 0;
    for (let at = 0; at < text.length; at += 1) {
      const char = text.charCodeAt(at);
      if (char !== 0x0a && char !== 0x0d) continue;
      this.#endLine(text.slice(from, at));
      this.#line = '';
      if (char === 0x0d) {
        if (at + 1 === text.length) this.#afterCr = true;
        else if (text.charCodeAt(at + 1) === 0x0a) at += 1;
      }
      from = at + 1;
    }
    const rest = text.slice(from);
    if (rest === '') return;
    if (this.#chars + this.#line.length + rest.length <= this.#maxChars) this.#line += rest;
    // The line is too long already: what matters is only that it is not blank.
    else this.#tooLong(rest);
  }

  /** `end` is what comes of it behind `#line`. */
  #endLine(end: string): void {
    const line = this.#line + end;
    if (line === '') return this.#dispatch();
    if (this.#chars + line.length > this.#maxChars) return this.#tooLong(end);
    this.#chars += line.length;
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const name = colon === -1 ? line : line.slice(0, colon);
    const rest = colon === -1 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#event = value;
    else if (name === 'id' && !value.includes('\0')) this.#id = value;
  }

  /** By this piece, or it was before. */
  #tooLong(part: string): void {
    if (!this.#lost) {
      if (!this.#isTooLong) this.#sink.overlong?.(`${this.#data.join('\n')}\n${this.#line}`);
      this.#sink.overlong?.(part);
    }
    this.#chars = this.#maxChars + 1;
    this.#line = ':';
    this.#data = [];
  }

  #dispatch(): void {
    const { event, data, id } = { event: this.#event, data: this.#data, id: this.#id };
    const tooLong = this.#isTooLong;
    const lost = this.#lost;
    this.#forget();
    if (lost) return;
    if (tooLong) this.#sink.tooLong();
    else if (data.length > 0)
      this.#sink.event({ event: event || 'message', data: data.join('\n'), id });
  }

  get #isTooLong(): boolean {
    return this.#chars > this.#maxChars;
  }

  #forget(): void {
    this.#lost = false;
    this.#chars = 0;
    this.#event = '';
    this.#data = [];
    this.#id = null;
  }
}
