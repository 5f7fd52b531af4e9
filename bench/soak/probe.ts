// Loaded into the proxy under soak (`--import`), which is otherwise as an operator runs it: on SIGWINCH,
// which the proxy itself knows nothing of, it writes what keeps the event loop going to the file of SOAK_PROBE.
import { renameSync, writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const file = process.env.SOAK_PROBE;

if (isMainThread && file !== undefined) {
  process.on('SIGWINCH', () => {
    const counts: Record<string, number> = {};
    for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
    writeFileSync(`${file}.new`, JSON.stringify(counts));
    renameSync(`${file}.new`, file);
  });
}
