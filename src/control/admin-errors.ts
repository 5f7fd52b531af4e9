// Failures of the admin API as its callers see them: one shape, one table, whoever noticed.
import type { Socket } from 'node:net';
import type { FastifyReply } from 'fastify';
import type { Logger } from 'pino';
import { z } from 'zod';
import { KINDS } from '../config/explain.ts';
import { CutoverError, ERRORS, type ErrorCode, errorBody } from '../errors.ts';

/** Nothing here may be kept by caches, or be taken for another type than it says. */
export const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
} as const;

/** What fastify notices before a handler runs; its own sentences may quote the input. */
const SENTENCES: Readonly<Record<string, string>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not valid JSON.',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty; send a JSON object.',
  FST_ERR_CTP_BODY_TOO_LARGE: 'The body is larger than 64 KiB.',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body is not as long as content-length says.',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'The body must be JSON, with content-type: application/json.',
};

/** How a sentence begins that no schema has given. */
const WORDS_OF_ZOD = /^(Invalid|Too (small|big)):? /;

export interface ErrorDetail {
  readonly message?: string;
  readonly field?: string | undefined;
  /** Where HTTP has a narrower status than the table. */
  readonly status?: number;
}

/** Answers with an error of the table. */
export function sendError(
  reply: FastifyReply,
  code: ErrorCode,
  { status = ERRORS[code].status, ...detail }: ErrorDetail = {},
): FastifyReply {
  return reply
    .code(status)
    .headers(SECURITY_HEADERS)
    .type('application/json; charset=utf-8')
    .send(errorBody(code, detail));
}

/** Answers with whatever went wrong. Only failures of the proxy itself are logged. */
export function sendFailure(reply: FastifyReply, error: unknown, logger: Logger): FastifyReply {
  if (error instanceof CutoverError) {
    return sendError(reply, error.code, { message: error.message, field: error.field });
  }
  if (error instanceof z.ZodError) return sendError(reply, 'invalid-argument', firstIssue(error));
  const status = statusOf(error);
  if (status >= 400 && status < 500) {
    const message = SENTENCES[codeOf(error)] ?? ERRORS['bad-request'].message;
    return sendError(reply, 'bad-request', { status, message });
  }
  logger.error({ err: error }, 'the admin API failed');
  return sendError(reply, 'internal');
}

/** For bytes that are no HTTP: there is no request yet, only a socket. */
export function refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = errorBody('bad-request');
  const fields = { ...SECURITY_HEADERS, 'content-type': 'application/json', connection: 'close' };
  const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 400 Bad Request\r\n${head.join('')}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** One at a time: whoever types a command repairs one thing and tries again. */
function firstIssue({ issues }: z.ZodError): ErrorDetail {
  const [issue] = issues;
  if (issue === undefined) return {};
  const [unknown] = issue.code === 'unrecognized_keys' ? issue.keys : [];
  const path = unknown === undefined ? issue.path : [...issue.path, unknown.slice(0, 60)];
  const field = path.map(String).join('.');
  const said = unknown === undefined ? wording(issue) : 'is not known here';
  return { message: field === '' ? said : `${field}: ${said}`, field: field || undefined };
}

/** What must stand there; what does is the caller's, and is not repeated. */
function wording(issue: z.core.$ZodIssue): string {
  if (!WORDS_OF_ZOD.test(issue.message)) return issue.message;
  switch (issue.code) {
    case 'invalid_value':
      return `must be one of ${issue.values.join(', ')}`;
    case 'too_small':
      if (issue.origin === 'string' && issue.minimum === 1) return 'must not be empty';
      return bound(
        issue.origin,
        issue.inclusive === false ? 'more than' : 'at least',
        issue.minimum,
      );
    case 'too_big':
      return bound(
        issue.origin,
        issue.inclusive === false ? 'less than' : 'at most',
        issue.maximum,
      );
    case 'invalid_type':
      return `must be ${KINDS[issue.expected] ?? issue.expected}`;
    default:
      return issue.message;
  }
}

function bound(origin: string, than: string, limit: number | bigint): string {
  if (origin === 'string') return `must have ${than} ${limit} characters`;
  return origin === 'array' ? `must have ${than} ${limit} entries` : `must be ${than} ${limit}`;
}

function statusOf(error: unknown): number {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : 500;
  return typeof status === 'number' ? status : 500;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
