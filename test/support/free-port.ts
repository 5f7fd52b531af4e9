import { once } from 'node:events';
import net from 'node:net';

/** Systems give those from 32,768 on, or from 49,152, to whoever asks for any port. */
const [FIRST, END] = [10_000, 32_000];
/** Test files are processes of their own, and begin so far from each other. */
const EACH = 64;

let next = process.pid * EACH;

/** A port of 127.0.0.1 at which nobody listens, and which nobody else is given, for as long as this process lives. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + (next % (END - FIRST));
    next += 1;
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  await new Promise(resolve => server.close(resolve));
  return true;
}
