// Bodies that are held whole: bounded one by one and all together, and given back when they are over.
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { ERRORS } from '../../src/errors.ts';
import { refuseRequest } from '../../src/traffic/answer.ts';
import { HeldBodies } from '../../src/traffic/held-body.ts';
import { closeAll, closing } from '../support/lane.ts';
import { type RawEnd, rawClient } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

/** A server that holds every body until it is told to answer; room for 1,000 bytes in all. */
async function holding(bodies = new HeldBodies(1_000)): Promise<{
  client(): Promise<RawEnd>;
  answers: (() => void)[];
  seen: { begun: number; over: number };
}> {
  const answers: (() => void)[] = [];
  const seen = { begun: 0, over: 0 };
  const server = http.createServer((request, response) => {
    seen.begun += 1;
    response.once('close', () => {
      seen.over += 1;
    });
    bodies
      .hold(request, () => undefined)
      .then(
        held => {
          if (typeof held === 'string') return refuseRequest(response, held);
          if (held !== null) response.once('close', held.release);
          answers.push(() => response.end(`${held?.bytes.length ?? 'too large'}`));
        },
        () => response.destroy(),
      );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  const { port } = server.address() as net.AddressInfo;
  return {
    answers,
    seen,
    client: async () => {
      const client = await rawClient(port);
      return closing(Object.assign(client, { close: () => client.socket.destroy() }));
    },
  };
}

const post = (bytes: number, sent = bytes) =>
  `POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(sent)}`;

test('what is one too many is a 503 that says when to come again, and room is given back', async () => {
  const { client, answers } = await holding();
  const [first, second] = [await client(), await client()];
  first.write(post(700));
  await until('it is held', () => answers.length === 1);
  second.write(post(400));
  await second.has('"code":"overloaded"');
  expect(second.text).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
  expect(second.text).toMatch(/\r\nRetry-After: 1\r\n/);
  expect(ERRORS.overloaded.status).toBe(503);
  answers.shift()?.();
  await first.has('\r\n\r\n700');
  // The same client, on the same connection: it was only early.
  second.write(post(400));
  await until('it is held', () => answers.length === 1);
  answers.shift()?.();
  await second.has('\r\n\r\n400');
});

// The fault: 260 clients that sent most of a body, and then a byte now and then, had everybody else's writes refused
// for hours.
test('where there is no room, what has been coming for longest gives way, and not whoever comes whole', async () => {
  const { client, answers, seen } = await holding();
  const [empty, slow, quick] = [await client(), await client(), await client()];
  // Of this one nothing is held yet.
  empty.write(post(100, 0));
  await until('it has begun', () => seen.begun === 1);
  slow.write(post(900, 800));
  await until('it has begun', () => seen.begun === 2);
  for (let i = 1; i <= 3; i += 1) {
    quick.write(post(600));
    await until('it is held', () => answers.length === 1);
    answers.shift()?.();
    await until('it is answered', () => quick.text.split('\r\n\r\n600').length === i + 1);
  }
  await slow.has('"code":"overloaded"');
  expect(slow.text).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/);
  // What it still sends of that is no request, and what comes then is one.
  slow.write('x'.repeat(100));
  slow.write(post(400));
  await until('it is held', () => answers.length === 1);
  empty.write('x'.repeat(100));
  await until('so is this', () => answers.length === 2);
  for (const give of answers) give();
  await slow.has('\r\n\r\n400');
  await empty.has('\r\n\r\n100');
});

test('clients that leave, before the end of their bodies or after it, leave no room taken', async () => {
  const { client, answers, seen } = await holding();
  for (let i = 1; i <= 20; i += 1) {
    const leaving = await client();
    leaving.write(i % 2 === 0 ? post(900) : post(900, 800));
    await until('it has begun', () => seen.begun === i);
    if (i % 2 === 0) await until('it is held', () => answers.length === i / 2);
    leaving.socket.resetAndDestroy();
    await until('it is over', () => seen.over === i);
  }
  const staying = await client();
  staying.write(post(1_000));
  await until('it is held', () => answers.length === 11);
  answers.at(-1)?.();
  await staying.has('\r\n\r\n1000');
});

/** The fault: each chunk was kept by itself, an object of some 100 bytes, and limits counted one byte of it. */
test('a body in chunks of one byte takes no more memory than any other', async () => {
  const bodies = new HeldBodies();
  const { client } = await holding(bodies);
  const end = await client();
  end.write('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n');
  const chunks = Buffer.from('1\r\nx\r\n'.repeat(100_000));
  const before = process.memoryUsage().heapUsed;
  for (let i = 1; i <= 4; i += 1) {
    end.write(chunks);
    await until('they are held', () => bodies.bytes === i * 100_000);
  }
  // What is thrown away may lie about for a while.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(40 * 1_048_576);
});
