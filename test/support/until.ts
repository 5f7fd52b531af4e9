/** What is about to happen is looked for at every turn of the loop so long; then more seldom. */
const EAGER_MS = 20;
/** Catches a hang, before the test's own limit does: where others have the processor, seconds become tens of them. */
const HANGS_MS = 50_000;
/** A wait must not take the processor from what is waited for. */
const PAUSE_MS = 5;

/** Polls until `condition` gives something truthy and returns it; throws after `deadlineMs`, naming `what`. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs = HANGS_MS,
): Promise<NonNullable<T>> {
  const start = performance.now();
  for (;;) {
    const value = await condition();
    if (value) return value;
    const waitedMs = performance.now() - start;
    if (waitedMs > deadlineMs) throw new Error(`waited ${deadlineMs} ms in vain until ${what}`);
    await new Promise<void>(resolve => {
      if (waitedMs < EAGER_MS) setImmediate(resolve);
      else setTimeout(resolve, PAUSE_MS);
    });
  }
}
