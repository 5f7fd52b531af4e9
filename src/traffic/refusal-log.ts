// A refusal as the log has it: whose fault it is, and the ids by which others know the request. Never
// a path, a query or a user.
import type { Logger } from 'pino';
import { ERRORS, type ErrorCode } from '../errors.ts';
import type { Side } from '../rules/decide.ts';
import type { RequestIds } from './upstream.ts';

/** What is known of a refused request by then. */
export interface RefusedRequest extends RequestIds {
  readonly route?: string;
  readonly side?: Side;
  readonly session?: string;
  readonly reason?: string;
  /** Revision of the flags. */
  readonly flags?: string;
  /** What failed, for operators. */
  readonly detail?: string;
}

/** Clients that err are told, and nobody else need do anything; the rest is worth a warning. */
export function logRefusal(
  logger: Logger,
  what: 'a request was refused' | 'an upgrade was refused',
  code: ErrorCode,
  about: RefusedRequest,
): void {
  const { fault, status } = ERRORS[code];
  logger[fault === 'client' ? 'info' : 'warn']({ ...about, code, status }, what);
}
