// An answer as it is compared: fields by name, the body decoded.
import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import type { AnswerSample } from '../ports.ts';
import type { Answer } from '../rules/compare/answers.ts';
import { decoded } from '../wire/content-coding.ts';
import { listMembers, type RawHeaders } from '../wire/headers.ts';
import { decodeText } from './decode.ts';

/** A body of 1 MiB may become so long; whatever becomes longer is a bomb, or not worth comparing. */
const MOST_DECODED_BYTES = 8 * 1_048_576;

/** `method` is the request's: an answer to HEAD has no body, whatever its fields say. */
export function answerOf(sample: AnswerSample, method: string): Answer {
  const { status, headers, body, end, ms } = sample;
  return {
    status,
    headers: fieldsOf(headers),
    body:
      method === 'HEAD' || end === 'failed'
        ? null
        : body === null || body === 'overload'
          ? undefined
          : read(body, headers),
    isCut: end === 'cut',
    latencyMs: ms,
  };
}

function fieldsOf(headers: RawHeaders): Answer['headers'] {
  const fields = new Map<string, string[]>();
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [headers[i + 1] as string]);
    else values.push(headers[i + 1] as string);
  }
  return Object.fromEntries(fields);
}

/** Undefined for what is not comparable within its bounds. */
function read(sent: Uint8Array, headers: RawHeaders): unknown {
  if (sent.length === 0) return null;
  // Between threads a Buffer becomes a plain array of bytes.
  const body = Buffer.from(sent.buffer, sent.byteOffset, sent.length);
  const plain = decoded(body, listMembers(headers, 'content-encoding'), MOST_DECODED_BYTES);
  if (plain === undefined) return undefined;
  if (!isUtf8(plain)) return `binary, ${plain.length} bytes, sha256 ${hash('sha256', plain)}`;
  const text = decodeText(plain.toString('utf8'));
  return 'value' in text ? text.value : undefined;
}
