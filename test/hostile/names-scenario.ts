// Run in a network of its own, whose names are in its hands: what becomes of requests to services whose
// names move, do not exist, or are never answered. Prints one line of JSON.
import dgram from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { decisionFor, proxy } from '../support/proxy.ts';

/** Question section of a DNS message behind its 12 bytes of head (RFC 1035 4.1). */
function questionOf(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.'), type: message.readUInt16BE(at + 1), end: at + 5 };
}

/** Answers `name` with its address in `zone`, says of others that they do not exist, and of null nothing. */
async function nameServer(zone: Readonly<Record<string, string | null>>): Promise<void> {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (message, { port, address }) => {
    const { name, type, end } = questionOf(message);
    const found = zone[name];
    if (found === null) return;
    const head = Buffer.from(message.subarray(0, 12));
    const answers = found !== undefined && type === 1 ? 1 : 0;
    // QR, recursion as asked and available; code 3 is "no such name".
    head.writeUInt16BE(0x8180 | (found === undefined ? 3 : 0), 2);
    head.writeUInt16BE(answers, 6);
    head.writeUInt32BE(0, 8);
    const record = Buffer.from([
      0xc0,
      12,
      0,
      1,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      4,
      ...(found ?? '').split('.').map(Number),
    ]);
    socket.send(
      Buffer.concat([head, message.subarray(12, end), answers === 1 ? record : Buffer.alloc(0)]),
      port,
      address,
    );
  });
  socket.bind(53, '127.0.0.1');
  await once(socket, 'listening');
}

async function service(address: string, port: number): Promise<number> {
  const server = http.createServer((_request, response) => response.end(address));
  server.listen(port, address);
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

async function ask(port: number, path = '/api/x'): Promise<Asked> {
  const startedAt = performance.now();
  const request = http.get({ host: '127.0.0.1', port, path, agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const body = Buffer.concat(await response.toArray()).toString();
  const said =
    response.statusCode === 200 ? body : `${response.statusCode} ${JSON.parse(body).error.code}`;
  return { said, ms: Math.round(performance.now() - startedAt) };
}

/** What became of it. */
export interface Asked {
  readonly said: string;
  readonly ms: number;
}

export interface Found {
  /** Who answered before and after the name moved. */
  readonly moved: readonly string[];
  readonly missing: Asked;
  /** Requests to a service whose name is never answered, in both lanes, and then one to the other service. */
  readonly routed: { readonly silent: readonly Asked[]; readonly beside: Asked };
  readonly unrouted: { readonly silent: readonly Asked[]; readonly beside: Asked };
}

const zone: Record<string, string | null> = {
  'moving.test': '127.0.0.2',
  'silent.test': null,
  'steady.test': '127.0.0.2',
};
await nameServer(zone);
const at = await service('127.0.0.2', 0);
await service('127.0.0.3', at);
const url = (name: string) => `http://${name}:${at}`;
const upstream = { connectTimeoutMs: 500 };

const moving = await proxy({ legacy: url('moving.test'), upstream });
const moved = [(await ask(moving.port)).said];
zone['moving.test'] = '127.0.0.3';
moved.push((await ask(moving.port)).said);

const nowhere = await proxy({ legacy: url('nowhere.test'), upstream });
const missing = await ask(nowhere.port);

let side: 'legacy' | 'candidate';
const decider = () => ({ decision: decisionFor(side), revision: 'test' });
const many = (port: number, path: string) =>
  Promise.all(Array.from({ length: 20 }, () => ask(port, path)));

side = 'candidate';
const silentCandidate = await proxy({
  ...{ legacy: url('steady.test'), candidate: url('silent.test'), upstream, decider },
});
const routed = {
  silent: await many(silentCandidate.port, '/api/x'),
  beside: await besideOf('legacy'),
};

const silentLegacy = await proxy({
  ...{ legacy: url('silent.test'), candidate: url('steady.test'), upstream, decider },
});
const unrouted = {
  silent: await many(silentLegacy.port, '/x'),
  beside: await besideOf('candidate'),
};

const found: Found = { moved, missing, routed, unrouted };
console.log(JSON.stringify(found));
process.exit();

function besideOf(other: typeof side): Promise<Asked> {
  side = other;
  return ask((other === 'legacy' ? silentCandidate : silentLegacy).port);
}
