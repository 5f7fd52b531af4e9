// HTTP/1.1 messages as bytes, by chance: every shape that the grammar allows (RFC 9110 5, RFC 9112 3 to
// 7), and the same with bytes put in, taken out or changed.
import fc from 'fast-check';

const TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

const pick = (characters: string, constraints: fc.StringConstraints = {}) =>
  fc.string({ unit: fc.constantFrom(...characters), ...constraints });
/** Case must not matter. */
const spelled = (name: string) => fc.constantFrom(name, name.toLowerCase(), name.toUpperCase());
const blank = fc.constantFrom('', ' ', '\t', '  ', ' \t ');

/** A field of nobody's, so that no rule but the one for all fields touches it. */
const field = fc
  .tuple(pick(TCHAR, { minLength: 1, maxLength: 12 }), blank, fieldValue(), blank)
  .map(([name, before, value, after]) => `x-any${name}:${before}${value}${after}`);
const fields = fc.array(field, { maxLength: 6 });

const chunk = fc.record({
  data: fc.uint8Array({ minLength: 1, maxLength: 40 }).map(latin1),
  zeros: fc.constantFrom('', '0', '000'),
  upper: fc.boolean(),
  extension: fc.constantFrom('', ';a', ';a=b', ';a="b c"', ';q=";\\""'),
});

/** What tells where a body ends, and the body. */
const body = fc.oneof(
  fc.constant({ framing: [] as string[], text: '' }),
  fc
    .tuple(spelled('Content-Length'), blank, fc.uint8Array({ maxLength: 80 }).map(latin1))
    .map(([name, space, text]) => ({ framing: [`${name}:${space}${text.length}`], text })),
  fc
    .tuple(spelled('Transfer-Encoding'), spelled('chunked'), fc.array(chunk, { maxLength: 5 }))
    .map(([name, coding, chunks]) => ({
      framing: [`${name}: ${coding}`],
      text: `${chunks.map(writeChunk).join('')}0\r\n\r\n`,
    })),
);

/** Whole requests for paths under `prefix`. */
export function requests(prefix: string): fc.Arbitrary<Buffer> {
  return fc
    .record({
      method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD'),
      path: pick('abc/.%2;:@&=+$,-_!~*\'()\\|"<>[]^`{}', { maxLength: 12 }),
      query: fc.option(pick('a=&b?/%20', { maxLength: 8 }), { nil: null }),
      fields,
      body,
    })
    .map(({ method, path, query, fields: own, body: { framing, text } }) =>
      message(
        `${method} ${prefix}${path}${query === null ? '' : `?${query}`} HTTP/1.1`,
        ['Host: h', ...own, ...framing],
        text,
      ),
    );
}

/** Whole answers, and the methods that they answer. */
export const answers: fc.Arbitrary<{ asked: string; bytes: Buffer }> = fc
  .record({
    asked: fc.constantFrom('GET', 'GET', 'POST', 'HEAD'),
    status: fc.constantFrom(200, 201, 204, 206, 301, 304, 400, 404, 418, 500, 503, 599),
    reason: fc.constantFrom('OK', '', 'Not quite', 'Sch\xf6n'),
    fields,
    body,
  })
  .map(({ asked, status, reason, fields: own, body: { framing, text } }) => {
    const bodiless = asked === 'HEAD' || status === 204 || status === 304;
    // What has no body may name a length only (RFC 9110 8.6), 204 none.
    const named = bodiless && (status === 204 || /chunked/i.test(framing.join())) ? [] : framing;
    return {
      asked,
      bytes: message(`HTTP/1.1 ${status} ${reason}`, [...own, ...named], bodiless ? '' : text),
    };
  });

const EDGES = [
  '\0',
  '\r',
  '\n',
  '\r\n',
  '\t',
  ' ',
  ':',
  ',',
  ';',
  '\x0b',
  '\x7f',
  '\x80',
  '0',
  '9',
  'f',
  '\r\n\r\n',
];

/** The same messages with a few small faults, which may also be none. */
export function faulty(messages: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const fault = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    taken: fc.nat(2),
    put: fc.oneof(fc.constantFrom(...EDGES), fc.constant('')),
  });
  return fc
    .tuple(messages, fc.array(fault, { minLength: 1, maxLength: 3 }))
    .map(([bytes, faults]) =>
      faults.reduce((text, { at, taken, put }) => {
        const from = Math.floor(at * text.length);
        return text.slice(0, from) + put + text.slice(from + taken);
      }, bytes.toString('latin1')),
    )
    .map(text => Buffer.from(text, 'latin1'));
}

/** Cut into pieces of these sizes, the rest in one. */
export function cutAt(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...pieces, bytes.subarray(at)].filter(piece => piece.length > 0);
}

function message(start: string, lines: readonly string[], text: string): Buffer {
  return Buffer.from(`${start}\r\n${lines.map(l => `${l}\r\n`).join('')}\r\n${text}`, 'latin1');
}

function writeChunk({
  data,
  zeros,
  upper,
  extension,
}: {
  data: string;
  zeros: string;
  upper: boolean;
  extension: string;
}): string {
  const size = data.length.toString(16);
  return `${zeros}${upper ? size.toUpperCase() : size}${extension}\r\n${data}\r\n`;
}

/** Visible characters and bytes beyond ASCII, blanks only between them (RFC 9110 5.5). */
function fieldValue(): fc.Arbitrary<string> {
  const visible = pick('abcXYZ019!"#$%&\'()*+,-./:;<=>?@[]^_`{|}~\\\x80\xa0\xff', {
    maxLength: 12,
  });
  return fc.array(visible, { maxLength: 3 }).map(words => words.join(' ').trim());
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
