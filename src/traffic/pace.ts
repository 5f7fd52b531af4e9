// Ending many clients one after another: when all reconnect at once, that is an outage of its own.
import { setTimeout as pause } from 'node:timers/promises';

/** They are told in slices of so long. */
const SLICE_MS = 20;

/** Over how long `count` clients are told to come again, at so many a second. */
export function windowFor(count: number, perS: number): number {
  return (count * 1_000) / perS;
}

/**
 * Does `act` to each, spread evenly over `windowMs`, with jitter, so that clients with one delay of their
 * own do not come back in step. Resolves once it has been done to all, or `signal` is aborted.
 */
export async function paced<T>(
  items: readonly T[],
  windowMs: number,
  act: (item: T) => void,
  signal?: AbortSignal,
): Promise<void> {
  const startedAt = performance.now();
  const eachMs = windowMs / items.length;
  let dueMs = Math.random() * eachMs;
  for (let next = 0; next < items.length && !signal?.aborted; ) {
    const elapsedMs = performance.now() - startedAt + SLICE_MS;
    for (; next < items.length && dueMs <= elapsedMs; next += 1) {
      act(items[next] as T);
      dueMs = (next + 1 + Math.random()) * eachMs;
    }
    await pause(SLICE_MS);
  }
}
