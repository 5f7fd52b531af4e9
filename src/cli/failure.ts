// How a command fails: one sentence on stderr and an exit code that scripts can rely on.
import { CommanderError } from 'commander';
import { CutoverError } from '../errors.ts';

/** EX_USAGE of sysexits.h: the command was not understood, and the proxy was not asked. */
export const NOT_UNDERSTOOD = 64;

/** 1: refused or invalid. 2: nobody answers, or what is needed to ask is not there. 3: done, but not all of it. */
export type FailureCode = 1 | 2 | 3 | typeof NOT_UNDERSTOOD;

export class CommandFailure extends Error {
  readonly exitCode: FailureCode;

  constructor(exitCode: FailureCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.exitCode = exitCode;
  }
}

/** Tells on stderr what went wrong, never how the program got there, and returns the exit code. */
export function reportFailure(error: unknown): number {
  // Commander has said it already; help and version end here too, with 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : NOT_UNDERSTOOD;
  const taken = takenAddress(error);
  const known = error instanceof CommandFailure || error instanceof CutoverError || taken !== null;
  const message = taken ?? (error instanceof Error ? error.message : 'unknown failure');
  process.stderr.write(`${known ? '' : 'this should not have happened: '}${message}\n`);
  return error instanceof CommandFailure ? error.exitCode : 1;
}

/** Of what can not listen because somebody else does, what to do; null for all else. */
function takenAddress(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'EADDRINUSE') return null;
  const { address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  return `${address}:${port} is taken by another process; end that one, or name another port`;
}
