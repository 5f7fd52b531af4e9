// Rows 40, 42 and 43: what a proxy process grows by while a peer takes nothing, or sends what never ends.
import { expect, onTestFinished, test } from 'vitest';
import { frame } from '../support/frame.ts';
import { clientOf } from '../support/line.ts';
import { residentBytes } from '../support/proc.ts';
import { proxyProcess } from '../support/process.ts';
import { type RawEnd, rawServer, upgradeRequest } from '../support/raw.ts';
import { place } from '../support/stack.ts';
import { until } from '../support/until.ts';

const MEGABYTE = 1_048_576;
/** What row 43 grants for a reader that stops: growth, and bytes that the proxy takes for him. */
const MOST_HELD = 60 * MEGABYTE;
const MOST_TAKEN = 8 * MEGABYTE;
/** Beyond that it is in the kernel, on the service's side of the proxy. */
const MOST_GIVEN = 16 * MEGABYTE;
/**
 * While bytes flow, copies of them are garbage that V8 collects every 64 MB or so: 54 to 92 MB were seen.
 * Each test moves more than that.
 */
const MOST_GROWTH = 128 * MEGABYTE;
const MASK = Buffer.from('mask');

interface Session {
  readonly client: RawEnd;
  readonly upstream: RawEnd;
  /** Peak of the process's resident size since the session was opened, in bytes above that moment's. */
  growth(): number;
  /** Bytes that the proxy has read of the service and written to the client. */
  passedOn(): Promise<number>;
  /** Throws, with the proxy's log, if one of the two is gone. */
  stands(): void;
}

/** An open WebSocket through a proxy in a process of its own. What comes is not kept, but counted. */
async function session(): Promise<Session> {
  const service = await rawServer();
  onTestFinished(() => service.close());
  const url = `http://127.0.0.1:${service.port}`;
  // Whatever starts slowly on a busy machine is no time-out.
  const where = await place({ legacy: url, candidate: url }, { timeoutMs: 30_000 });
  onTestFinished(() => where.close());
  const proxy = await proxyProcess(where.folder);
  onTestFinished(() => proxy.close());
  // Its other threads are there.
  await until('it has started', () => proxy.log().includes('"msg":"started"'), 30_000);
  const client = await clientOf(Number(new URL(proxy.listen).port));
  client.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.accept();
  await client.has('HTTP/1.1 101');
  await client.has('\r\n\r\n');
  const admin = await proxy.admin();
  const pid = proxy.child.pid ?? 0;
  const before = residentBytes(pid);
  return {
    client,
    upstream,
    growth: () => residentBytes(pid, 'VmHWM') - before,
    passedOn: async () => {
      const metrics = await (await fetch(`${admin}/metrics`)).text();
      const line = /^cutover_bytes_total\{[^}]*"to_client"[^}]*\} (\d+)/m.exec(metrics);
      return Number(line?.[1] ?? Number.NaN);
    },
    stands: () => {
      for (const { ended, closed } of [client, upstream])
        if (ended || closed) throw new Error(`the session is over: ${proxy.log()}`);
    },
  };
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
  const { client, upstream, growth, passedOn } = await session();
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
  expect(taken()).toBeLessThan(MOST_GIVEN);
  expect(await passedOn()).toBeLessThan(MOST_TAKEN);
  expect(growth()).toBeLessThan(MOST_HELD);
  client.socket.resume();
  await until('everything arrives', () => arrived() === 200 * message.length, 200_000);
  expect(growth()).toBeLessThan(MOST_GROWTH);
}, 240_000);

test.each([
  ['40: fragments without end, of one byte and of none', [fragment('x'), fragment('')]],
  ['42: a flood of pings', [frame(9, { payload: 'ping', mask: MASK })]],
])('%s cost no memory', { timeout: 240_000 }, async (_what, frames) => {
  const { client, upstream, growth, stands } = await session();
  const arrived = counted(upstream);
  const piece = Buffer.concat(Array.from({ length: 10_000 }, () => frames).flat());
  const times = Math.ceil((160 * MEGABYTE) / piece.length);
  pump(client, piece, times);
  await until(
    'all of them arrive',
    () => {
      stands();
      return arrived() === times * piece.length;
    },
    200_000,
  );
  expect(growth()).toBeLessThan(MOST_GROWTH);
});

function fragment(payload: string): Buffer {
  return frame(0, { payload, fin: false, mask: MASK });
}
