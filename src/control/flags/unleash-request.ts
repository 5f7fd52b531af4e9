// One request to an Unleash server, bounded in time and size. No redirect is followed: the token is
// for the configured address alone.

/** How a request can end without an answer that is worth reading. */
export type RequestFailure = 'unreachable' | 'timeout' | 'too-large' | 'encoding';

export class RequestFault extends Error {
  readonly outcome: RequestFailure;

  constructor(outcome: RequestFailure, message: string, cause?: unknown) {
    super(message, { cause });
    this.outcome = outcome;
  }
}

export interface RequestOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** For the whole answer: a server that sends a byte now and then is cut off too. */
  readonly timeoutMs: number;
  /** Of the body as it is after decompression. */
  readonly maxBytes: number;
  /** Ends the request when whoever asked is not interested any more. */
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly etag: string | null;
  readonly text: string;
}

/** Asks, and reads the whole answer whatever its status. Throws `RequestFault`. */
export async function request(url: string, options: RequestOptions): Promise<Answer> {
  const { method = 'GET', headers, body, timeoutMs, maxBytes, signal } = options;
  const ending = new AbortController();
  const end = () => ending.abort();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    end();
  }, timeoutMs);
  signal?.addEventListener('abort', end, { once: true });
  try {
    if (signal?.aborted) end();
    const response = await fetch(url, {
      method,
      headers,
      redirect: 'manual',
      signal: ending.signal,
      ...(body === undefined ? {} : { body }),
    });
    const bytes = await readBounded(response, maxBytes);
    return { status: response.status, etag: response.headers.get('etag'), text: decode(bytes) };
  } catch (error) {
    if (error instanceof RequestFault) throw error;
    if (late) throw new RequestFault('timeout', `no complete answer within ${timeoutMs} ms`, error);
    throw new RequestFault('unreachable', whyNot(error), error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
    // What is left of a body that nobody reads would keep its connection open.
    end();
  }
}

async function readBounded({ body, headers }: Response, maxBytes: number): Promise<Buffer> {
  const tooLarge = () =>
    new RequestFault('too-large', `the answer is longer than ${maxBytes} bytes`);
  if (Number(headers.get('content-length') ?? 0) > maxBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of body ?? []) {
    total += chunk.length;
    if (total > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total);
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new RequestFault('encoding', 'the answer is not UTF-8', error);
  }
}

/** The code says enough; messages of the network layer may hold addresses and header bytes. */
function whyNot(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
  if (code === 'ECONNREFUSED') return 'connection refused';
  return code === undefined ? 'the connection failed' : `the connection failed (${code})`;
}
