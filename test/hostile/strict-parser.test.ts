// Whatever the proxy passes on is the message that came: read by a strict parser that is not Node's,
// before and after. What that parser would refuse, the proxy refuses, or passes on as one message.
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Fields, type Reading, readByH11 } from '../support/h11.ts';
import { clientOf, LANES } from '../support/line.ts';
import { proxy } from '../support/proxy.ts';
import { type RawEnd, rawServer } from '../support/raw.ts';
import { hasPythonModule } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { answers, cutAt, faulty, requests } from './http-messages.ts';

const RUNS = 150;

/** Fields that are of each connection, or that a proxy writes. */
const OF_THE_HOP =
  /^(connection|keep-alive|transfer-encoding|content-length|via|x-forwarded-\w+|x-request-id|traceparent|date)$/;

/** The proxy's own answer, where the service's is none; no service here gives it. */
const OWN_ANSWER = 'HTTP/1.1 502 Bad Gateway\r\n';

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const cuts = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 4 });

describe.skipIf(!hasPythonModule('h11'))('as h11 reads it', () => {
  describe.each(LANES)('through %s', (_lane, path) => {
    test('a request is the same behind the proxy as before it', { timeout: 120_000 }, async () => {
      const sent = fc.sample(fc.tuple(requests(path), cuts), { numRuns: RUNS, seed });
      const pass = await passage();
      for (const [bytes, sizes] of sent) {
        const client = await pass.send(bytes, sizes);
        await client.has('\r\n\r\n');
        expect(client.text, `seed ${seed}: ${bytes}`).toMatch(/^HTTP\/1.1 200 /);
        client.socket.destroy();
      }
      const all = sent.map(([bytes]) => bytes);
      const before = readByH11(all.map(bytes => ({ bytes })));
      const after = readByH11((await pass.arrived()).map(bytes => ({ bytes })));
      expect(differences(all, before, after)).toEqual([]);
    });

    test('a faulty one has an end, and is refused or the same to both', {
      timeout: 120_000,
    }, async () => {
      const sent = fc.sample(fc.tuple(faulty(requests(path)), cuts), { numRuns: 2 * RUNS, seed });
      const pass = await passage();
      for (const [bytes, sizes] of sent) {
        const client = await pass.send(bytes, sizes);
        client.socket.end();
        await until('it ends', () => client.ended || client.closed);
        client.socket.destroy();
      }
      const all = sent.map(([bytes]) => bytes);
      const before = readByH11(all.map(bytes => ({ bytes: fromStartLine(bytes) })));
      const after = readByH11((await pass.arrived()).map(bytes => ({ bytes })));
      expect(differences(all, before, after.map(orNull))).toEqual([]);
    });

    test('an answer is the same to the client as from the service', {
      timeout: 120_000,
    }, async () => {
      const sent = fc.sample(fc.tuple(answers, cuts), { numRuns: RUNS, seed });
      const got = await answered(path, sent);
      const all = sent.map(([{ bytes }]) => bytes);
      const before = readByH11(sent.map(([answer]) => answer));
      const after = readByH11(sent.map(([{ asked }], i) => ({ asked, bytes: got[i] as Buffer })));
      expect(differences(all, before, after)).toEqual([]);
    });

    test('a faulty answer is cut off, replaced by a 502, or the same to both', {
      timeout: 120_000,
    }, async () => {
      const some = answers.chain(({ asked, bytes }) =>
        faulty(fc.constant(bytes)).map(damaged => ({ asked, bytes: damaged })),
      );
      const sent = fc.sample(fc.tuple(some, cuts), { numRuns: 2 * RUNS, seed });
      const got = await answered(path, sent);
      const all = sent.map(([{ bytes }]) => bytes);
      const before = readByH11(
        sent.map(([{ asked, bytes }]) => ({ asked, bytes: fromStartLine(bytes) })),
      );
      const after = readByH11(sent.map(([{ asked }], i) => ({ asked, bytes: got[i] as Buffer })));
      const passedOn = after.map((reading, i) =>
        got[i]?.includes(OWN_ANSWER) ? null : orNull(reading),
      );
      expect(differences(all, before, passedOn)).toEqual([]);
    });
  });
});

/** What each client got, of a service that gave these answers and hung up. */
async function answered(
  path: string,
  sent: readonly (readonly [{ asked: string; bytes: Buffer }, readonly number[]])[],
): Promise<Buffer[]> {
  const service = await rawServer();
  onTestFinished(() => service.close());
  const front = await proxy({ legacy: service.port });
  onTestFinished(() => front.close());
  const got: Buffer[] = [];
  for (const [{ asked, bytes }, sizes] of sent) {
    const client = await clientOf(front.port);
    client.write(`${asked} ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`);
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    for (const piece of cutAt(bytes, sizes)) await written(upstream, piece);
    upstream.socket.end();
    await until('the answer ends', () => client.ended || client.closed);
    got.push(client.received);
    client.socket.destroy();
  }
  return got;
}

interface Passage {
  /** Sends a request from a client of its own, whose address tells it apart, however damaged it is. */
  send(bytes: Buffer, sizes: readonly number[]): Promise<RawEnd>;
  /** What the service got of each of them, in order. Waits until the proxy has let go of it. */
  arrived(): Promise<Buffer[]>;
}

/** Whose request it is, as the proxy says, which believes no client of his address. */
const FROM = /\r\nx-forwarded-for: ([0-9.]+)\r\n/i;

/** A proxy in front of a service that answers every whole request. */
async function passage(): Promise<Passage> {
  const connections: { readonly received: Buffer[]; open: boolean }[] = [];
  const service = http.createServer((request, response) => {
    request.resume().on('end', () => response.end());
  });
  service.on('connection', socket => {
    const connection = { received: [] as Buffer[], open: true };
    connections.push(connection);
    socket.on('data', chunk => connection.received.push(chunk));
    socket.on('close', () => {
      connection.open = false;
    });
  });
  service.listen(0, '127.0.0.1');
  await once(service, 'listening');
  onTestFinished(() => void service.close());
  const front = await proxy({ legacy: (service.address() as net.AddressInfo).port });
  onTestFinished(() => front.close());
  const addresses: string[] = [];
  return {
    send: async (bytes, sizes) => {
      const n = addresses.length + 1;
      const address = `127.1.${n >> 8}.${n & 255}`;
      addresses.push(address);
      const client = await clientOf(front.port, address);
      for (const piece of cutAt(bytes, sizes)) await written(client, piece);
      return client;
    },
    arrived: async () => {
      await until('the service is let go', () => connections.every(c => !c.open));
      const first = new Map<string, Buffer>();
      for (const { received } of connections) {
        const stream = Buffer.concat(received);
        const from = FROM.exec(stream.toString('latin1'))?.[1] ?? '';
        if (stream.length > 0 && !first.has(from)) first.set(from, stream);
      }
      expect(addresses, 'nobody else asks').toEqual(expect.arrayContaining([...first.keys()]));
      return addresses.map(address => first.get(address) ?? Buffer.alloc(0));
    },
  };
}

/** Writes a piece that is to arrive on its own. */
async function written({ socket }: RawEnd, piece: Buffer): Promise<void> {
  if (socket.destroyed) return;
  socket.write(piece);
  await new Promise(resolve => setImmediate(resolve));
}

/** Empty lines before a message are no part of it (RFC 9112 2.2); h11 takes them for its first line. */
function fromStartLine(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.findIndex(byte => byte !== 0x0d && byte !== 0x0a));
}

/** Null for what has no end: nothing at all, or the beginning of a message that was then cut off. */
function orNull(reading: Reading): Reading | null {
  return 'error' in reading || !reading.whole ? null : reading;
}

/** What a message says beyond its connection. */
function endToEnd(reading: Reading) {
  if ('error' in reading) return reading;
  const { start, headers, body, trailers, whole, rest } = reading;
  // The words behind a status mean nothing (RFC 9112 4); undici reads them as UTF-8.
  const line = typeof start?.[0] === 'number' ? [start[0]] : start;
  const own = headers.filter(([name]) => !OF_THE_HOP.test(name));
  return { start: line, headers: inOrderOfNames(own), body, trailers, whole, rest };
}

/** Only fields of one name have an order that means anything (RFC 9110 5.3). */
function inOrderOfNames(fields: Fields): Fields {
  return fields.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The messages that are another one after than before, with both readings; null is no message. */
function differences(
  sent: readonly Buffer[],
  before: readonly Reading[],
  after: readonly (Reading | null)[],
): object[] {
  return sent.flatMap((bytes, i) => {
    const [one, other] = [before[i], after[i]];
    if (one === undefined || !other) return [];
    // What lies behind a message is the next one, for the proxy to read; nobody else ever sees it.
    const alone = 'error' in one ? one : { ...one, rest: 0 };
    const [expected, seen] = [alone, other].map(reading => JSON.stringify(endToEnd(reading)));
    return expected === seen
      ? []
      : [{ seed, sent: bytes.toString('latin1'), before: expected, after: seen }];
  });
}
