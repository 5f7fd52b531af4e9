// Keys that are pressed on a terminal, one by one, without Enter.
import type { ReadStream } from 'node:tty';

/** Ctrl-C and Ctrl-\\ are plain keys to a program that reads each for itself. */
const SIGNALS: Readonly<Record<string, NodeJS.Signals>> = { '\x03': 'SIGINT', '\x1c': 'SIGQUIT' };

/** Does nothing where `input` is no terminal. The result gives it back. */
export function onKeys(
  input: Pick<ReadStream, 'isTTY' | 'setRawMode' | 'on' | 'off' | 'resume' | 'pause'>,
  acts: Readonly<Record<string, () => unknown>>,
): () => void {
  if (!input.isTTY) return () => undefined;
  const onData = (bytes: Buffer): void => {
    for (const key of bytes.toString('latin1')) {
      const signal = SIGNALS[key];
      if (signal !== undefined) process.kill(process.pid, signal);
      else if (Object.hasOwn(acts, key)) void acts[key]?.();
    }
  };
  input.setRawMode(true);
  input.on('data', onData);
  input.resume();
  return () => {
    input.off('data', onData);
    input.setRawMode(false);
    input.pause();
  };
}
