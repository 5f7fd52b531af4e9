// Ending many clients one after another: when all reconnect at once, that is an outage of its own.
import { setTimeout as pause } from 'node:timers/promises';

/** They are told in slices of so long. */
const SLICE_MS = 20;

/** Does `act` to each, spread evenly over `windowMs`; resolves once it has been done to all. */
export async function paced<T>(
  items: readonly T[],
  windowMs: number,
  act: (item: T) => void,
): Promise<void> {
  const startedAt = performance.now();
  for (let next = 0; next < items.length; ) {
    const elapsedMs = performance.now() - startedAt + SLICE_MS;
    const due = Math.min(Math.ceil((items.length * elapsedMs) / windowMs), items.length);
    for (; next < due; next += 1) act(items[next] as T);
    await pause(SLICE_MS);
  }
}
