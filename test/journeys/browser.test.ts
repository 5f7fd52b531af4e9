// A page in a real browser gets its events through the proxy, from either side.
import { type Browser, chromium } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { tokenSubprotocols } from '../../src/broadcast/token.ts';
import type { Proof } from '../../src/control/proofs.ts';
import { CHROMIUM, CHROMIUM_FLAGS } from '../support/browser.ts';
import { admin, type Stack, sidesOf, stack, tokenFor } from '../support/stack.ts';
import { hasProgram } from '../support/tools.ts';
import { until } from '../support/until.ts';

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

  test('keeps its WebSocket through ten rollbacks and releases under traffic: each event once, in order', async () => {
    up = await stack({ stage: ['live'], timeoutMs: 10_000 });
    const { proxy, folder } = up;
    const page = await browser.newPage();
    const url = `${proxy.listen.replace('http', 'ws')}/ws`;
    const protocols = tokenSubprotocols(await tokenFor('user_1001'));
    await page.evaluate(
      ([address, offered]) =>
        new Promise<void>((resolve, reject) => {
          const socket = new WebSocket(address, offered);
          const steps: number[] = [];
          Object.assign(globalThis, { socket, steps });
          socket.onopen = () => resolve();
          socket.onerror = () => reject(new Error('the WebSocket failed'));
          socket.onmessage = ({ data }) => {
            const { type, step_id } = JSON.parse(data);
            if (type === 'notice') steps.push(step_id);
          };
        }),
      [url, protocols] as const,
    );
    const seen = () =>
      page.evaluate(() => {
        const { socket, steps } = globalThis as unknown as { socket: WebSocket; steps: number[] };
        return { state: socket.readyState, steps };
      });
    const isWarm = () => proxy.traffic.rollbackOutlook(new Set(['events'])).warm === 1;
    const side = () => sidesOf(proxy).get('user_1001');

    let posted = 0;
    const stop = new AbortController();
    const posting = (async () => {
      while (!stop.signal.aborted) {
        posted += 1;
        const event = { type: 'notice', run_id: 'r', step_id: posted };
        await fetch(`${proxy.listen}/broadcast`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ user_id: 'user_1001', event }),
        });
      }
    })();
    for (let round = 0; round < 10; round += 1) {
      await until('its second leg stands by', isWarm);
      const before = posted;
      const { body } = await admin(proxy, folder, '/rollback', { reason: 'a try' });
      const { id } = body.proof as Proof;
      const proof = await until('it is through', async () => {
        const { body: known } = await admin(proxy, folder, `/proofs/${id}`);
        return known.state === 'running' ? undefined : known;
      });
      expect(proof).toMatchObject({ state: 'complete', sessions: { affected: 1, inPlace: 1 } });
      expect(side()).toBe('legacy');
      await until('events come from there', () => posted > before + 5);
      await admin(proxy, folder, '/release', { reason: 'enough' });
      await until('the candidate serves again', () => side() === 'candidate');
    }
    stop.abort();
    await posting;
    await until('the page has all', async () => (await seen()).steps.length >= posted);
    expect(await seen()).toEqual({
      state: WebSocket.OPEN,
      steps: Array.from({ length: posted }, (_, i) => i + 1),
    });
    await page.close();
  });
});
