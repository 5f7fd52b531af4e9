// A page in a real browser gets its events through the proxy, from either side.
import { type Browser, chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { tokenSubprotocols } from '../../src/broadcast/token.ts';
import { CHROMIUM, CHROMIUM_FLAGS } from '../support/browser.ts';
import { type Stack, sidesOf, stack, tokenFor } from '../support/stack.ts';
import { hasProgram } from '../support/tools.ts';

describe.skipIf(!hasProgram(CHROMIUM, 'chromium'))('a page', () => {
  let browser: Browser;
  let up: Stack;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
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
