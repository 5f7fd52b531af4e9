// A socket whose other end a test plays, byte by byte and in its own order: bytes lie in the network until
// the test has them read, in pieces of any length, and none is read while the owner has stopped reading.
import type net from 'node:net';
import { Duplex } from 'node:stream';

/** Every read of every socket comes in the same memory, as with `onread`: what is not copied is lost. */
const READ_BUFFER = Buffer.alloc(65_536);

export interface PlayedSocketOptions {
  /** Gets reads as `net.connect({onread})` gives them; without it they are the stream's data. */
  readonly onread?: net.OnReadOpts | undefined;
  /** What the other end hears, as it hears it. */
  readonly hear: (bytes: Buffer) => void;
  /** So much may wait for the other end before the writer is asked to stop. */
  readonly room?: number;
}

export class PlayedSocket extends Duplex {
  readonly connecting = false;
  readonly remoteAddress = '127.0.0.1';
  /** The owner has said its last word. */
  hasSaidAll = false;
  /** By the owner. */
  bytesWritten = 0;
  readonly #options: PlayedSocketOptions;
  #network: Buffer = Buffer.alloc(0);
  #isReading = true;
  #endsAfter = false;
  #isHearing = true;
  #unheard: (() => void)[] = [];

  constructor(options: PlayedSocketOptions) {
    super({ allowHalfOpen: true, writableHighWaterMark: options.room ?? 65_536 });
    this.#options = options;
  }

  /** Bytes that are on their way to the owner. */
  get underWay(): number {
    return this.destroyed || this.readableEnded ? 0 : this.#network.length;
  }

  /** The other end says something. */
  say(bytes: Uint8Array): void {
    if (!this.#endsAfter) this.#network = Buffer.concat([this.#network, bytes]);
  }

  /** The other end says nothing more. */
  sayNoMore(): void {
    this.#endsAfter = true;
  }

  /** The owner reads so many of the bytes, if it reads at all. */
  arrive(most = READ_BUFFER.length): void {
    if (this.destroyed || this.readableEnded) return;
    const { onread } = this.#options;
    if (onread === undefined ? this.isPaused() : !this.#isReading) return;
    const bytes = this.#network.subarray(0, Math.min(most, READ_BUFFER.length));
    this.#network = this.#network.subarray(bytes.length);
    if (bytes.length === 0) {
      if (!this.#endsAfter) return;
      this.push(null);
      this.read(0);
      return;
    }
    if (onread === undefined) return void this.push(Buffer.from(bytes));
    READ_BUFFER.set(bytes);
    onread.callback(bytes.length, READ_BUFFER);
    READ_BUFFER.fill('#', 0, bytes.length);
  }

  /** The other end takes what is written, or lets it wait. */
  hears(isHearing: boolean): void {
    this.#isHearing = isHearing;
    while (this.#isHearing && this.#unheard.length > 0) this.#unheard.shift()?.();
  }

  override pause(): this {
    this.#isReading = false;
    return super.pause();
  }

  override resume(): this {
    this.#isReading = true;
    return super.resume();
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', this.destroy);
  }

  override _read(): void {
    // Bytes come when the test says so.
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.bytesWritten += chunk.length;
    const take = () => {
      this.#options.hear(Buffer.from(chunk));
      done();
    };
    if (this.#isHearing) take();
    else this.#unheard.push(take);
  }

  override _final(done: () => void): void {
    this.hasSaidAll = true;
    done();
  }
}
