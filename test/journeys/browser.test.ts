// A page in a real browser gets its events through the proxy, from either side.
import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { tokenSubprotocols } from '../../src/broadcast/token.ts';
import { type Stack, sidesOf, stack, tokenFor } from '../support/stack.ts';

const CHROMIUM = '/usr/bin/chromium';
const missing = !existsSync(CHROMIUM);
if (missing) {
  const what = `${CHROMIUM} is missing: apt-get install chromium`;
  if (process.env.CI) throw new Error(what);
  console.warn(`the browser journeys are left out, since ${what}`);
}

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

describe.skipIf(missing)('a page', () => {
  let browser: Browser;
  let up: Stack;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  });
  afterAll(() => browser.close());
  afterEach(() => up.close());

  test.each([
    ['legacy', 'off'],
    ['candidate', 'live'],
  ] as const)(
    'is served by %s in stage %s: five events in order, and the close code it asks for',
    async (side, stage) => {
      up = await stack({ stage: [stage] });
      const page = await browser.newPage();
      const url = `${up.proxy.listen.replace('http', 'ws')}/ws`;
      const protocols = tokenSubprotocols(await tokenFor('user_1001'));
      const seen = await page.evaluate(
        ([address, offered]) =>
          new Promise<{ protocol: string; types: string[] }>((resolve, reject) => {
            const socket = new WebSocket(address, offered);
            Object.assign(globalThis, { socket });
            const types: string[] = [];
            socket.onerror = () => reject(new Error('the WebSocket failed'));
            socket.onopen = () =>
              socket.send(JSON.stringify({ type: 'start_agent', message_id: 'm1', message: 'go' }));
            socket.onmessage = ({ data }) => {
              types.push(JSON.parse(data).type);
              if (types.at(-1) === 'agent_completed') resolve({ protocol: socket.protocol, types });
            };
          }),
        [url, protocols] as const,
      );
      expect(seen.protocol).toBe(protocols[1]);
      expect(seen.types.filter(type => /^(agent|tool)_/.test(type))).toEqual([
        'agent_started',
        'agent_thinking',
        'tool_executing',
        'tool_completed',
        'agent_completed',
      ]);
      expect(sidesOf(up.proxy).get('user_1001')).toBe(side);
      const closed = await page.evaluate(
        () =>
          new Promise<{ code: number; clean: boolean }>(resolve => {
            const { socket } = globalThis as unknown as { socket: WebSocket };
            socket.onclose = ({ code, wasClean }) => resolve({ code, clean: wasClean });
            socket.close(4001, 'enough');
          }),
      );
      expect(closed).toEqual({ code: 4001, clean: true });
      await page.close();
    },
  );
});
