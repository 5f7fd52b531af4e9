// Loaded into the proxy under soak (`--import`), which is otherwise as an operator runs it: on SIGWINCH,
// which the proxy itself knows nothing of, it writes what keeps the event loop going to the file of SOAK_PROBE,
// and how many timers there are, those that do not keep it going included.
import { renameSync, writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const file = process.env.SOAK_PROBE;
const timers = new Set<NodeJS.Timeout>();

if (isMainThread && file !== undefined) {
  globalThis.setTimeout = counting(globalThis.setTimeout, true);
  globalThis.setInterval = counting(globalThis.setInterval, false);
  globalThis.clearTimeout = forgetting(globalThis.clearTimeout);
  globalThis.clearInterval = forgetting(globalThis.clearInterval);
  process.on('SIGWINCH', () => {
    const counts: Record<string, number> = { timers: timers.size };
    for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
    writeFileSync(`${file}.new`, JSON.stringify(counts));
    renameSync(`${file}.new`, file);
  });
}

type SetTimer = typeof setTimeout & typeof setInterval;

function counting<T extends typeof setTimeout | typeof setInterval>(set: T, once: boolean): T {
  const counted = (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => {
    const timer: NodeJS.Timeout = (set as SetTimer)(() => {
      if (once) timers.delete(timer);
      callback(...args);
    }, ms);
    timers.add(timer);
    return timer;
  };
  return Object.assign(counted, set) as unknown as T;
}

function forgetting<T extends typeof clearTimeout | typeof clearInterval>(clear: T): T {
  return ((timer: NodeJS.Timeout | undefined) => {
    if (timer !== undefined) timers.delete(timer);
    clear(timer);
  }) as T;
}
