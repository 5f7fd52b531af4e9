// Clients of every make through the proxy: the same visit, the same outcome.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { CHROMIUM, CHROMIUM_FLAGS } from '../support/browser.ts';
import { proxy, type TestProxy } from '../support/proxy.ts';
import { hasProgram, hasPythonModule, PYTHON } from '../support/tools.ts';
import { EXPECTED, OFFERED, SCENARIO, type Visit, visitInBrowser } from './scenario.ts';
import { visitByWs } from './ws-visit.ts';

let service: WebSocketServer;
let front: TestProxy;
let url: string;

beforeAll(async () => {
  service = new WebSocketServer({
    port: 0,
    host: '127.0.0.1',
    // It would compress for clients that ask for it; the proxy does not let them.
    perMessageDeflate: true,
    handleProtocols: offered => (offered.has('two') ? 'two' : false),
  });
  service.on('connection', socket =>
    socket.on('message', (data, binary) => socket.send(data, { binary })),
  );
  await once(service, 'listening');
  front = await proxy({ legacy: (service.address() as net.AddressInfo).port });
  url = `ws://127.0.0.1:${front.port}/ws`;
});
afterAll(async () => {
  await front.close();
  service.close();
});

test('ws', async () => {
  expect(await visitByWs(url)).toEqual({ ...EXPECTED, reason: 'enough' });
});

test("Node's own WebSocket", async () => {
  expect(await visitInBrowser(url, OFFERED, SCENARIO)).toEqual(EXPECTED);
});

test.skipIf(!hasProgram(CHROMIUM, 'chromium'))('Chromium', async () => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
  try {
    const page = await browser.newPage();
    const visit = await page.evaluate(
      `(${visitInBrowser})(...${JSON.stringify([url, OFFERED, SCENARIO])})`,
    );
    expect(visit).toEqual(EXPECTED);
  } finally {
    await browser.close();
  }
});

test.skipIf(!hasPythonModule('websockets'))('python3-websockets', async () => {
  expect(await visitByPython('websockets_client.py')).toEqual({ ...EXPECTED, reason: 'enough' });
});

test.skipIf(!hasPythonModule('wsproto'))('python3-wsproto', async () => {
  expect(await visitByPython('wsproto_client.py')).toEqual({ ...EXPECTED, reason: 'enough' });
});

async function visitByPython(script: string): Promise<Visit> {
  const file = path.join(import.meta.dirname, '../support', script);
  const { stdout } = await promisify(execFile)(PYTHON, [file, url, JSON.stringify(SCENARIO)]);
  return JSON.parse(stdout);
}
