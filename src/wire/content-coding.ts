// Content codings (RFC 9110 8.4.1), undone within bounds.
import {
  brotliDecompressSync,
  constants,
  gunzipSync,
  inflateSync,
  zstdDecompressSync,
} from 'node:zlib';
import { listMembers, type RawHeaders } from './headers.ts';

interface DecodeOptions {
  readonly maxOutputLength: number;
  readonly finishFlush?: number;
}

const DECODERS: Readonly<Record<string, (body: Buffer, options: DecodeOptions) => Buffer>> = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
};

/** What a body is coded with, in lower case; `identity` says that it is not. */
export function codingsOf(headers: RawHeaders): readonly string[] {
  return listMembers(headers, 'content-encoding')
    .map(name => name.toLowerCase())
    .filter(name => name !== 'identity');
}

/**
 * A body without its codings, which are undone in the reverse of the order in which they stand. Undefined
 * where one is unknown, the body is not what it says, or more than `mostBytes` come of it.
 */
export function decoded(
  body: Buffer,
  codings: readonly string[],
  mostBytes: number,
): Buffer | undefined {
  return undone(body, codings, () => ({ maxOutputLength: mostBytes }));
}

/** Whether all of them are known here. */
export function isDecodable(codings: readonly string[]): boolean {
  return codings.every(name => Object.hasOwn(DECODERS, name));
}

/** As `decoded`, of the beginning of a body: what can be told by that, which may be nothing yet. */
export function decodedStart(
  start: Buffer,
  codings: readonly string[],
  mostBytes: number,
): Buffer | undefined {
  return undone(start, codings, name => ({
    maxOutputLength: mostBytes,
    // What is there is wanted, though its end is not.
    finishFlush: FLUSH[name] ?? constants.Z_SYNC_FLUSH,
  }));
}

const FLUSH: Readonly<Record<string, number>> = {
  br: constants.BROTLI_OPERATION_FLUSH,
  zstd: constants.ZSTD_e_flush,
};

function undone(
  body: Buffer,
  codings: readonly string[],
  options: (name: string) => DecodeOptions,
): Buffer | undefined {
  let bytes = body;
  for (const name of codings.toReversed()) {
    const decode = Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined;
    if (decode === undefined) return undefined;
    try {
      bytes = decode(bytes, options(name));
    } catch {
      // Not what it says it is, or longer than is held: either way nobody can tell what is in it.
      return undefined;
    }
  }
  return bytes;
}
