// Every failure that somebody outside can see: its code, the sentence for it, and how it looks on
// the wire. Translated to HTTP or WebSocket once, at the edge.

export type Fault = 'client' | 'upstream' | 'proxy' | 'operator';

interface ErrorEntry {
  /** Sentence for whoever reads the answer; never holds data of a request. */
  readonly message: string;
  /** HTTP status. */
  readonly status: number;
  /** WebSocket close code (RFC 6455 7.4.1), for a session that is open when it happens. */
  readonly close: number;
  readonly fault: Fault;
}

export const ERRORS = {
  'bad-request': {
    message: 'The request is malformed.',
    status: 400,
    close: 1002,
    fault: 'client',
  },
  'bad-upgrade': {
    message: 'The WebSocket handshake is malformed (RFC 6455 4.2.1).',
    status: 400,
    close: 1002,
    fault: 'client',
  },
  'upgrade-version': {
    message: 'Only WebSocket version 13 is spoken here.',
    status: 426,
    close: 1002,
    fault: 'client',
  },
  'too-much-early': {
    message: 'More came than is kept before the handshake is answered (RFC 6455 4.1).',
    status: 413,
    close: 1009,
    fault: 'client',
  },
  loop: {
    message:
      'The request has passed this proxy before: a service, or its address, leads back here.',
    status: 508,
    close: 1011,
    fault: 'operator',
  },
  method: {
    message: 'The method is not allowed here.',
    status: 405,
    close: 1002,
    fault: 'client',
  },
  'request-timeout': {
    message: 'The rest of the request did not arrive in time.',
    status: 408,
    close: 1002,
    fault: 'client',
  },
  overloaded: {
    message: 'The proxy has too much under way; try again.',
    status: 503,
    close: 1013,
    fault: 'proxy',
  },
  exhausted: {
    message: 'The proxy has no descriptor or port left for a connection to the service; try again.',
    status: 503,
    close: 1013,
    fault: 'proxy',
  },
  expectation: {
    message: 'Only the expectation 100-continue is understood.',
    status: 417,
    close: 1002,
    fault: 'client',
  },
  unauthorized: {
    message: 'A valid credential is required.',
    status: 401,
    close: 1008,
    fault: 'client',
  },
  'not-found': {
    message: 'There is nothing at this address.',
    status: 404,
    close: 1008,
    fault: 'client',
  },
  'too-many-sessions': {
    message: 'The proxy holds as many sessions as it is allowed to.',
    status: 503,
    close: 1013,
    fault: 'proxy',
  },
  draining: {
    message: 'The proxy is shutting down; connect again.',
    status: 503,
    close: 1012,
    fault: 'proxy',
  },
  'upstream-unreachable': {
    message: 'The service could not be reached.',
    status: 502,
    close: 1012,
    fault: 'upstream',
  },
  'upstream-timeout': {
    message: 'The service did not answer in time.',
    status: 504,
    close: 1012,
    fault: 'upstream',
  },
  'upstream-closed': {
    message: 'The service closed the connection before it had answered.',
    status: 502,
    close: 1012,
    fault: 'upstream',
  },
  'upstream-invalid': {
    message: 'The service gave an answer that is not valid HTTP or not a valid handshake.',
    status: 502,
    close: 1012,
    fault: 'upstream',
  },
  isolated: {
    message: "The answer was withheld: it is another user's, or can not be looked into.",
    status: 502,
    close: 1008,
    fault: 'upstream',
  },
  internal: { message: 'The proxy failed.', status: 500, close: 1011, fault: 'proxy' },
  'state-locked': {
    message: 'Another process holds the state folder.',
    status: 409,
    close: 1011,
    fault: 'operator',
  },
  'invalid-config': {
    message: 'The configuration is not valid.',
    status: 422,
    close: 1011,
    fault: 'operator',
  },
  'invalid-flags': {
    message: 'The flags are not valid.',
    status: 422,
    close: 1011,
    fault: 'operator',
  },
  'invalid-argument': {
    message: 'An argument is not valid.',
    status: 422,
    close: 1011,
    fault: 'operator',
  },
  'no-such-route': {
    message: 'No route has that name.',
    status: 404,
    close: 1011,
    fault: 'operator',
  },
  conflict: {
    message: 'The present state does not allow that.',
    status: 409,
    close: 1011,
    fault: 'operator',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** A failure with a code of the table. `detail` is for operators and logs, never for clients. */
export class CutoverError extends Error {
  readonly code: ErrorCode;
  /** Dotted path of the field or argument that is wrong, if one is. */
  readonly field: string | undefined;

  constructor(code: ErrorCode, detail?: string, options: { cause?: unknown; field?: string } = {}) {
    super(
      detail ?? ERRORS[code].message,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'CutoverError';
    this.code = code;
    this.field = options.field;
  }
}

/** Body of an error answer: `{error: {code, message, field?}}`. */
export function errorBody(
  code: ErrorCode,
  detail?: { message?: string; field?: string | undefined },
): string {
  const { message = ERRORS[code].message, field } = detail ?? {};
  return JSON.stringify({ error: { code, message, ...(field === undefined ? {} : { field }) } });
}

const NO_ADDRESS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there',
  EACCES: 'this user may not use that port',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'this machine has no such address',
};

/** Why a configured address can not be listened at; `field` is its part of the configuration. */
export function listenFailure(
  error: unknown,
  { field, host, port }: { readonly field: string; readonly host: string; readonly port: number },
): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const why = NO_ADDRESS[code];
  if (why === undefined) return error;
  return new CutoverError(
    'conflict',
    `the ${field} address ${host}:${port} can not be had: ${why}`,
    { cause: error, field },
  );
}
