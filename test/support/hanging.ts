// A disk that hangs, for as long as a test likes: with pipes in the place of files.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { PYTHON } from './tools.ts';
import { until } from './until.ts';

/** Holds a write lease on a file until its input ends: the kernel lets nobody else open it for so long, but for 45 s. */
const LEASE = `
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
`;

const mkfifo = (file: string) => promisify(execFile)('mkfifo', [file]);

/** Whoever appends to the file waits until the result is called. */
export async function hangingAppends(file: string): Promise<() => Promise<void>> {
  await rm(file, { force: true });
  await mkfifo(file);
  const pipe = await open(file, constants.O_NONBLOCK | constants.O_RDWR);
  const isFull = () =>
    pipe.write(Buffer.alloc(65_536)).then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === 'EAGAIN',
    );
  await until('it takes nothing more', isFull);
  return () => pipe.close();
}

/** Whoever opens the file waits until the result is called, and then goes on. */
export async function hangingFile(file: string): Promise<() => Promise<void>> {
  const holder = spawn(PYTHON, ['-c', LEASE, file], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  return async () => {
    holder.stdin.end();
    await once(holder, 'exit');
  };
}

/** Whoever opens the file to write it waits for ever. */
export async function hangingOpens(file: string): Promise<void> {
  await mkfifo(file);
}

/** Whoever asks for the file behind `reads` waits: that reads the file to its end, which does not come before the result is called. */
export async function hanging(
  file: string,
  reads: () => Promise<unknown>,
): Promise<() => Promise<void>> {
  const aside = `${file}.aside`;
  await writeFile(file, '', { flag: 'a', mode: 0o600 });
  await rename(file, aside);
  await mkfifo(file);
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
