// Looking at many that are open without holding up what they say.

/**
 * So long at a time: a session is swept in half a microsecond, one decision takes up to 5, and the goodbye to a second leg that
 * follows from it some 80.
 */
export const SLICE_MS = 1;

/** Visits them one after another, and gives way to traffic in between. Stops once `isCurrent` says no. */
export async function inSlices<T>(
  all: Iterable<T>,
  visit: (one: T) => void,
  isCurrent: () => boolean,
): Promise<void> {
  let end = performance.now() + SLICE_MS;
  for (const one of all) {
    if (performance.now() >= end) {
      await new Promise(resolve => setImmediate(resolve));
      end = performance.now() + SLICE_MS;
    }
    if (!isCurrent()) return;
    visit(one);
  }
}
