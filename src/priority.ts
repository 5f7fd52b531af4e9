// Threads that give way to the one that serves clients, where there are fewer CPUs than threads.
import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';

/**
 * Of a CPU that it shares with the main thread it gets a quarter (weights 335 and 1,024 of sched(7)), and is interrupted
 * sooner. With a stalled candidate clients wait half as long for their last hundredth of events (bench/README.md).
 */
const NICE = 5;

/**
 * From now on the calling thread gives way. Linux alone has priorities of threads; true: it has one now. Where
 * the system does not let it, all goes on as before.
 */
export function giveWay(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    const thread = readlinkSync('/proc/thread-self').split('/').at(-1);
    setPriority(Number(thread), NICE);
    return true;
  } catch {
    return false;
  }
}
