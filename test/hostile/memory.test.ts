// Rows 40 and 43: what a proxy process grows by while a peer takes nothing, or sends what never ends.
import { expect, onTestFinished, test } from 'vitest';
import { frame } from '../support/frame.ts';
import { clientOf } from '../support/line.ts';
import { residentBytes } from '../support/proc.ts';
import { proxyProcess } from '../support/process.ts';
import { type RawEnd, rawServer, upgradeRequest } from '../support/raw.ts';
import { place } from '../support/stack.ts';
import { until } from '../support/until.ts';

const MEGABYTE = 1_048_576;
/**
 * Copies of what passes are garbage that is collected now and then: up to 95 MB were seen. Each test
 * moves more than that.
 */
const MOST_GROWTH = 128 * MEGABYTE;
const MASK = Buffer.from('mask');

interface Session {
  readonly client: RawEnd;
  readonly upstream: RawEnd;
  /** Peak of the process's resident size since the session was opened, in bytes above that moment's. */
  growth(): number;
}

/** An open WebSocket through a proxy in a process of its own. What comes is not kept, but counted. */
async function session(): Promise<Session> {
  const service = await rawServer();
  onTestFinished(() => service.close());
  const url = `http://127.0.0.1:${service.port}`;
  const where = await place({ legacy: url, candidate: url });
  onTestFinished(() => where.close());
  const proxy = await proxyProcess(where.folder);
  onTestFinished(() => proxy.close());
  const client = await clientOf(Number(new URL(proxy.listen).port));
  client.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.accept();
  await client.has('\r\n\r\n');
  const pid = proxy.child.pid ?? 0;
  const before = residentBytes(pid);
  return { client, upstream, growth: () => residentBytes(pid, 'VmHWM') - before };
}

/** Lets `end` forget what comes, and says how much it was. */
function counted(end: RawEnd): () => number {
  let bytes = 0;
  end.socket.removeAllListeners('data').on('data', chunk => {
    bytes += chunk.length;
  });
  return () => bytes;
}

/** Writes `piece` `times` times, as fast as it is taken; says how many bytes the kernel has taken. */
function pump({ socket }: RawEnd, piece: Buffer, times: number): () => number {
  const start = socket.bytesWritten;
  let left = times;
  const go = () => {
    while (left > 0) {
      left -= 1;
      if (!socket.write(piece)) return;
    }
  };
  socket.on('drain', go);
  go();
  return () => socket.bytesWritten - socket.writableLength - start;
}

test('43: of 200 MB little is taken for a reader that stops, and nothing is lost when he reads on', async () => {
  const { client, upstream, growth } = await session();
  const arrived = counted(client);
  client.socket.pause();
  const message = frame(2, { payload: Buffer.alloc(MEGABYTE, 1) });
  const taken = pump(upstream, message, 200);
  let last = -1;
  let since = performance.now();
  await until('the service is held back', () => {
    if (taken() !== last) {
      last = taken();
      since = performance.now();
    }
    return performance.now() - since > 500;
  });
  // Most of it is in the kernel, on both sides of the proxy.
  expect(taken()).toBeLessThan(30 * MEGABYTE);
  expect(growth()).toBeLessThan(MOST_GROWTH);
  client.socket.resume();
  await until('everything arrives', () => arrived() === 200 * message.length, 200_000);
  expect(growth()).toBeLessThan(MOST_GROWTH);
}, 240_000);

test.each([
  ['40: fragments without end, of one byte and of none', [fragment('x'), fragment('')]],
  ['42: a flood of pings', [frame(9, { payload: 'ping', mask: MASK })]],
])('%s cost no memory', { timeout: 240_000 }, async (_what, frames) => {
  const { client, upstream, growth } = await session();
  const arrived = counted(upstream);
  const piece = Buffer.concat(Array.from({ length: 10_000 }, () => frames).flat());
  const times = Math.ceil((160 * MEGABYTE) / piece.length);
  pump(client, piece, times);
  await until('all of them arrive', () => arrived() === times * piece.length, 200_000);
  expect(growth()).toBeLessThan(MOST_GROWTH);
});

function fragment(payload: string): Buffer {
  return frame(0, { payload, fin: false, mask: MASK });
}
