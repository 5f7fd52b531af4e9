// A disk that hangs: whoever asks for the file behind one that reads it waits for as long as a test likes.
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { until } from './until.ts';

/** `reads` reads the file to its end, which does not come before the result is called. */
export async function hanging(
  file: string,
  reads: () => Promise<unknown>,
): Promise<() => Promise<void>> {
  const aside = `${file}.aside`;
  await writeFile(file, '', { flag: 'a', mode: 0o600 });
  await rename(file, aside);
  await promisify(execFile)('mkfifo', [file]);
  const reading = reads();
  const { O_NONBLOCK, O_WRONLY } = constants;
  // Refused as long as nobody reads; as long as it is open, a reader waits.
  const opened = () => open(file, O_WRONLY | O_NONBLOCK).catch(() => null);
  let writer: Awaited<ReturnType<typeof opened>> = null;
  await until('it is read', async () => {
    writer ??= await opened();
    return writer !== null;
  });
  await rm(file);
  await rename(aside, file);
  return async () => {
    await writer?.close();
    await reading;
  };
}
