// The log: JSON lines. What must not get into it is kept out where lines are written; what this file
// does about secrets and users' data is the second line of defence.
import pino, { type DestinationStream, type Logger, type LoggerOptions } from 'pino';
import type { Config } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';

/** Fields that hold credentials or parts of requests, at the top of a line or one level down. */
const NEVER = [
  'token',
  'secret',
  'authorization',
  'cookie',
  'headers',
  'rawHeaders',
  'body',
  'url',
];
/** Messages of the system and of ours are short; longer ones quote somebody's input. */
const MESSAGE_CHARS = 300;
const STACK_FRAMES = 8;
/** Causes of causes: a retry that wraps its own error must not fill a line. */
const CAUSES = 3;
/** A reader of stdout that hangs must not hold clients up; 4 MB are some 20,000 lines. */
const WAITING_BYTES = 4 * 1024 * 1024;
/** Anything shaped like a JWT, whole or cut off after its first dot; and bearer credentials. */
const CREDENTIAL = /eyJ[\w-]{4,}(?:\.[\w-]*){0,2}|\b(?:bearer|basic)\s+[\w.~+/=-]+/gi;

export interface LoggedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly field?: string;
  readonly stack: readonly string[];
  readonly cause?: LoggedError;
}

/**
 * A logger for stdout: written in the background, so that a process may end by `process.exit` but
 * not by a signal without losing lines. `to` is another stream.
 */
export function createLogger(level: Config['log']['level'], to?: DestinationStream): Logger {
  if (to !== undefined) return pino(options(level), to);
  const stdout = pino.destination({ dest: 1, sync: false, maxLength: WAITING_BYTES });
  const logger = pino(options(level), stdout);
  let dropped = 0;
  stdout.on('drop', () => {
    dropped += 1;
  });
  stdout.on('drain', () => {
    if (dropped === 0) return;
    const lines = dropped;
    dropped = 0;
    logger.warn({ lines }, 'log lines were dropped, because nobody read them');
  });
  return logger;
}

function options(level: Config['log']['level']): LoggerOptions {
  return {
    level,
    // Neither pid nor host: whoever collects lines knows them, and containers lie about both.
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
    redact: { paths: NEVER.flatMap(field => [field, `*.${field}`]), censor: '[redacted]' },
    serializers: { err: loggedError },
    // A line about an error without words of its own would get the error's message as it is.
    hooks: {
      logMethod([about, message, ...rest], method) {
        const error = errorOf(about);
        if (error === undefined || message !== undefined) {
          return method.apply(this, [about, message, ...rest]);
        }
        method.call(this, about, messageOf(error));
      },
    },
  };
}

/**
 * An error without what it carries along: parsers and HTTP clients attach the input, the request,
 * or the raw packet as further fields. Only named fields are taken, and the frames of the stack.
 */
export function loggedError(error: unknown): LoggedError {
  return described(error, CAUSES);
}

function described(error: unknown, causes: number): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error, message: 'not an error', stack: [] };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const field = error instanceof CutoverError ? error.field : undefined;
  const { cause } = error;
  return {
    type: error.name,
    message: messageOf(error),
    ...(code === undefined ? {} : { code }),
    ...(field === undefined ? {} : { field }),
    stack: framesOf(error),
    ...(cause === undefined || causes === 0 ? {} : { cause: described(cause, causes - 1) }),
  };
}

function errorOf(about: unknown): Error | undefined {
  if (about instanceof Error) return about;
  const held =
    typeof about === 'object' && about !== null && 'err' in about ? about.err : undefined;
  return held instanceof Error ? held : undefined;
}

function messageOf(error: Error): string {
  // JSON.parse quotes the text that it failed on.
  if (error instanceof SyntaxError) return 'text that can not be parsed';
  return error.message.slice(0, MESSAGE_CHARS).replace(CREDENTIAL, '[redacted]');
}

/** Without the stack's head, which repeats the message as it was. */
function framesOf({ stack = '' }: Error): string[] {
  return stack
    .split('\n')
    .filter(line => /^\s+at /.test(line))
    .slice(0, STACK_FRAMES)
    .map(line => line.trim());
}
