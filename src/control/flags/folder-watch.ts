// Tells when something in a folder may have changed. The folder is watched, not its files: editors
// and ConfigMaps replace files by renames.
import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';

/** Events come in bursts (truncate, write, rename); one burst is read once. */
const SETTLE_MS = 10;
/** Network file systems and exhausted inotify limits report nothing; then this finds the change. */
const SWEEP_MS = 2_000;

export interface FolderWatchOptions {
  readonly dir: string;
  /** Something in the folder has changed, a few ms ago. */
  readonly changed: () => void;
  /** Every two seconds: look whether something has changed without a report. */
  readonly sweep: () => void;
  /** Watching does not work; sweeps go on. */
  readonly failed: (error: unknown) => void;
}

/** Starts to watch; returns how to stop. Never keeps the process alive. */
export function watchFolder({ dir, changed, sweep, failed }: FolderWatchOptions): () => void {
  let watcher: FSWatcher | null = null;
  let watched = '';
  let settling: NodeJS.Timeout | null = null;
  let closed = false;

  function onEvent(): void {
    if (closed || settling !== null) return;
    settling = setTimeout(() => {
      settling = null;
      changed();
    }, SETTLE_MS).unref();
  }

  function unwatch(): void {
    watcher?.close();
    watcher = null;
  }

  /** A folder that was replaced by another of its name keeps its old watch silent. */
  async function rewatch(): Promise<void> {
    const { dev, ino } = await stat(dir, { bigint: true });
    const identity = `${dev} ${ino}`;
    if (closed || (watcher !== null && watched === identity)) return;
    unwatch();
    watcher = watch(dir, { persistent: false }, onEvent);
    watcher.on('error', error => {
      unwatch();
      failed(error);
    });
    watched = identity;
    onEvent();
  }

  const sweeping = setInterval(() => {
    rewatch().catch(failed);
    sweep();
  }, SWEEP_MS).unref();
  rewatch().catch(failed);

  return () => {
    closed = true;
    clearInterval(sweeping);
    if (settling !== null) clearTimeout(settling);
    unwatch();
  };
}
