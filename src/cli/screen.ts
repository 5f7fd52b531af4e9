// A terminal, taken over for a view that is drawn again and again, and given back as it was.
import type { ReadStream, WriteStream } from 'node:tty';
import { styleText } from 'node:util';

// DEC private modes of every terminal in use: the alternate screen, no cursor in it, and no line that
// is longer than it seemed (wide characters) runs on into the next.
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H';
const CLEAR_REST_OF_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
/** What Ctrl-C sends where the terminal does not make a signal of it. */
const CTRL_C = '\x03';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Where a terminal does not say. */
const USUAL = { columns: 80, rows: 24 } as const;

export interface Line {
  readonly text: string;
  readonly style?: Parameters<typeof styleText>[0];
}

export class Screen {
  readonly #output: WriteStream;
  readonly #input: ReadStream;
  readonly #left = new AbortController();
  #lines: readonly Line[] = [];
  #isOpen = true;

  /** Takes it over. `close` must follow, whatever happens; the end of the process does it too. */
  constructor(output: WriteStream, input: ReadStream) {
    this.#output = output;
    this.#input = input;
    output.write(ENTER);
    output.on('resize', this.#paint);
    if (input.isTTY) {
      input.setRawMode(true);
      input.on('data', this.#onKeys);
      input.resume();
    }
    for (const signal of SIGNALS) process.on(signal, this.#leave);
    process.on('exit', this.#giveBack);
  }

  /** Aborted when whoever watches wants to leave: by `q`, Ctrl-C or a signal. */
  get left(): AbortSignal {
    return this.#left.signal;
  }

  get rows(): number {
    return this.#output.rows || USUAL.rows;
  }

  /** Shows these lines, cut to the size of the terminal. */
  draw(lines: readonly Line[]): void {
    this.#lines = lines;
    this.#paint();
  }

  close(): void {
    this.#giveBack();
    process.off('exit', this.#giveBack);
    for (const signal of SIGNALS) process.off(signal, this.#leave);
    this.#output.off('resize', this.#paint);
    this.#input.off('data', this.#onKeys);
    this.#input.pause();
  }

  readonly #leave = (): void => this.#left.abort();

  readonly #onKeys = (keys: Buffer): void => {
    const text = keys.toString('latin1');
    if (text.includes('q') || text.includes('Q') || text.includes(CTRL_C)) this.#leave();
  };

  readonly #paint = (): void => {
    if (!this.#isOpen) return;
    const width = this.#output.columns || USUAL.columns;
    const shown = this.#lines.slice(0, this.rows).map(({ text, style }) => {
      const cut = [...text].slice(0, width).join('');
      return style === undefined ? cut : styleText(style, cut, { stream: this.#output });
    });
    // No line break behind the last line: it would scroll the first one away.
    const body = shown.join(`${CLEAR_REST_OF_LINE}\r\n`);
    this.#output.write(`${HOME}${body}${CLEAR_REST_OF_LINE}${CLEAR_BELOW}`);
  };

  readonly #giveBack = (): void => {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#input.isTTY) this.#input.setRawMode(false);
    this.#output.write(LEAVE);
  };
}
