// Descriptors, of which a process may have so many: one for every socket and every open file.
import fs from 'node:fs';
import { devNull } from 'node:os';

/** proc_pid_limits(5). Node has raised what it may have to what it can have by then. */
const LIMITS = '/proc/self/limits';
const MOST_OPEN = /^Max open files +(\d+)/m;
/** The process has as many as it may, or the system has. */
const NONE_LEFT: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE']);

/** How many this process may have; infinity if nobody can say, as everywhere but on Linux. */
export function mostDescriptors(): number {
  if (process.platform !== 'linux') return Number.POSITIVE_INFINITY;
  try {
    const [, most] = MOST_OPEN.exec(fs.readFileSync(LIMITS, 'latin1')) ?? [];
    return Number(most ?? Number.POSITIVE_INFINITY);
  } catch {
    // Without /proc nobody can say.
    return Number.POSITIVE_INFINITY;
  }
}

/** The next one that would be had: all below it are in use. Infinity if there is none; 20 µs, since it is tried. */
export function nextDescriptor(): number {
  try {
    const next = fs.openSync(devNull, 'r');
    fs.closeSync(next);
    return next;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Without such a file nobody can say.
    return NONE_LEFT.has(code) ? Number.POSITIVE_INFINITY : 0;
  }
}
