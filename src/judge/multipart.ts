// Parts of a body are told apart by a boundary that a service makes up for each answer (RFC 2046 5.1.1): in two
// answers that say the same it is another one.

/** One parameter of the type: its whole text, then its value, in quotes or not (RFC 9110 5.6.6). */
const BOUNDARY = /;[\t ]*boundary=(?:"([^"\\]{1,70})"|([^\s;"]{1,70}))/i;
/** In place of whatever was made up. */
const ANY = 'boundary';

/** The boundary that a content type names; null where it is of nothing in parts. */
function boundaryOf(contentType: string): string | null {
  if (!/^multipart\//i.test(contentType)) return null;
  const [, quoted, bare] = BOUNDARY.exec(contentType) ?? [];
  return quoted ?? bare ?? null;
}

/** The content type as if the boundary were any. */
export function typeWithoutBoundary(contentType: string): string {
  return boundaryOf(contentType) === null
    ? contentType
    : contentType.replace(BOUNDARY, `; boundary=${ANY}`);
}

/** The body as if its parts were told apart by any boundary: only where a line begins with it (RFC 2046 5.1.1). */
export function bodyWithoutBoundary(contentType: string, body: Buffer): Buffer {
  const boundary = boundaryOf(contentType);
  if (boundary === null) return body;
  const text = `\n${body.toString('latin1')}`.replaceAll(`\n--${boundary}`, `\n--${ANY}`);
  return Buffer.from(text.slice(1), 'latin1');
}
