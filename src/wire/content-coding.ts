// Content codings (RFC 9110 8.4.1), undone within bounds.
import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';

const DECODERS: Readonly<
  Record<string, (body: Buffer, options: { maxOutputLength: number }) => Buffer>
> = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
};

/**
 * A body without its codings, which are undone in the reverse of the order in which they stand. Undefined
 * where one is unknown, the body is not what it says, or more than `mostBytes` come of it.
 */
export function decoded(
  body: Buffer,
  codings: readonly string[],
  mostBytes: number,
): Buffer | undefined {
  let bytes = body;
  for (const coding of codings.toReversed()) {
    const name = coding.toLowerCase();
    if (name === 'identity') continue;
    const decode = Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined;
    if (decode === undefined) return undefined;
    try {
      bytes = decode(bytes, { maxOutputLength: mostBytes });
    } catch {
      // Not what it says it is, or longer than is held: either way nobody can tell what is in it.
      return undefined;
    }
  }
  return bytes;
}
