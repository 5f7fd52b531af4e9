import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { CRITICAL_EVENTS } from '../../src/broadcast/event.ts';
import { visit } from '../../src/runs/synthetic-user.ts';

/** What the service sends when a client comes, and when it starts a run. */
let kept: object[] = [];
let run: object[] = [];
let server: WebSocketServer;
beforeAll(async () => {
  server = new WebSocketServer({ port: 0, handleProtocols: offered => [...offered][0] ?? false });
  server.on('connection', socket => {
    for (const event of kept) socket.send(JSON.stringify(event));
    socket.on('message', () => {
      for (const event of run) socket.send(JSON.stringify(event));
    });
  });
  await once(server, 'listening');
});
afterAll(() => server.close());

const pathOf = (id: string, more: object = {}) =>
  CRITICAL_EVENTS.map(type => ({ type, run_id: id, user_id: 'ann', ...more }));

async function visited(
  onRun: (id: unknown, isHis: boolean) => void = () => undefined,
): Promise<{ how: string; read: number; completed: number }> {
  const { port } = server.address() as AddressInfo;
  const counts = { read: 0, completed: 0 };
  const leave = new AbortController();
  const how = await visit({
    ...{ id: 'ann', token: 'header.payload.signature', listen: `http://127.0.0.1:${port}` },
    ...{ leave: leave.signal, onRun },
    onEvent: () => {
      counts.read += 1;
    },
    onComplete: () => {
      counts.completed += 1;
      leave.abort();
    },
  });
  return { how, ...counts };
}

// The fault: it ended the visit, as a run whose events came in another order.
test('what a service kept of a run before ends no visit, and is read all the same', async () => {
  kept = pathOf('run_1', { recovered: true }).slice(3);
  run = pathOf('run_2');
  expect(await visited()).toEqual({ how: 'done', read: 7, completed: 1 });
});

test('a run whose events come in another order is one', async () => {
  kept = [];
  const [first, second, ...rest] = pathOf('run_3');
  run = [second ?? {}, first ?? {}, ...rest];
  expect(await visited()).toEqual({ how: 'out-of-order', read: 5, completed: 1 });
});

test('of several runs the first one is what he asked for', async () => {
  kept = pathOf('run_4', { recovered: true });
  run = [
    ...pathOf('run_5').slice(0, 2),
    ...pathOf('run_6').slice(0, 1),
    ...pathOf('run_5').slice(2),
  ];
  const begun: unknown[] = [];
  await visited((id, isHis) => begun.push([id, isHis]));
  expect(begun).toEqual([
    ['run_5', true],
    ['run_6', false],
  ]);
});
