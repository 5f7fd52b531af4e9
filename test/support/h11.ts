// What a strict parser that is not Node's reads in bytes: `h11`, by way of `h11_reader.py`.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { PYTHON } from './tools.ts';

export type Fields = [name: string, value: string][];

export interface Message {
  /** Method and target, or status and reason; null where not even the head has come. */
  start: [string | number, string] | null;
  /** Names in lower case. */
  headers: Fields;
  /** Hexadecimal. */
  body: string;
  trailers: Fields;
  /** Its end has come. */
  whole: boolean;
  /** Bytes that came behind its end. */
  rest: number;
}

/** A message, or what is wrong with it. */
export type Reading = Message | { error: string };

/** Readings of requests, or with `asked` of the answers to that method; each from a connection's start. */
export function readByH11(
  streams: readonly { readonly bytes: Buffer; readonly asked?: string }[],
): Reading[] {
  const script = path.join(import.meta.dirname, 'h11_reader.py');
  const input = streams.map(({ bytes, asked }) =>
    JSON.stringify({ bytes: bytes.toString('base64'), asked }),
  );
  const output = execFileSync(PYTHON, [script], {
    input: `${input.join('\n')}\n`,
    maxBuffer: 1 << 28,
  });
  return String(output)
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
}
