// What a failure on the way to a service is, where node:http or the library tells it.
import type { ErrorCode } from '../errors.ts';
import { connectFailure } from './upstream.ts';

/** What the system's errors mean, and the library's; any other: no connection could be had. */
const FAILURES: Readonly<Record<string, ErrorCode>> = {
  ECONNRESET: 'upstream-closed',
  EPIPE: 'upstream-closed',
  ETIMEDOUT: 'upstream-timeout',
  ECONNECT_TIMEOUT: 'upstream-timeout',
  EPROTO: 'upstream-invalid',
};

export function failureOf({ code = 'unknown' }: NodeJS.ErrnoException): ErrorCode {
  // The parser's codes; what it could not read was no HTTP.
  if (code.startsWith('HPE_')) return 'upstream-invalid';
  return FAILURES[code] ?? connectFailure(code);
}
