// The demo in stage shadow with a fault in the candidate: what it did wrong stands in the books while its
// run is hardly over, and what never came as soon as nobody can wait for it any longer.
import pino from 'pino';
import { afterEach, expect, test } from 'vitest';
import type { FaultKind } from '../../src/broadcast/fault.ts';
import { ConfigSchema } from '../../src/config/schema.ts';
import { WINDOW_MS } from '../../src/judge/docket.ts';
import { stageTarget } from '../../src/rules/stage.ts';
import { type RunningDemo, startDemo } from '../../src/runs/demo.ts';
import { until } from '../support/until.ts';

/** Of what comes within a second on a machine that has the time; these catch a hang. */
const LIMIT_MS = 30_000;

const ROUTE = ConfigSchema.shape.routes.element.parse({
  ...{ name: 'events', path: '/ws', protocol: 'websocket' },
});

let demo: RunningDemo | null = null;
afterEach(async () => {
  await demo?.end();
  demo = null;
}, 60_000);

async function shadowedDemo(kind: FaultKind): Promise<RunningDemo> {
  demo = await startDemo({
    ...{ users: 3, env: {}, faults: [{ kind, rate: 1 }] },
    logger: pino({ level: 'silent' }),
  });
  const { proxy } = demo;
  await proxy.flags.setStage(ROUTE, stageTarget('shadow'));
  return demo;
}

const VERDICTS = { 'wrong-type': 'mismatch', drop: 'missing', duplicate: 'duplicate' } as const;

test.each(['wrong-type', 'drop', 'duplicate'] as const)(
  '%s stands in the books by its verdict',
  async kind => {
    const { proxy } = await shadowedDemo(kind);
    const verdict = VERDICTS[kind];
    // Booked on the side that sent it.
    const side = kind === 'duplicate' ? 'candidate' : 'legacy';
    const books = await until(
      'it is in the books',
      () => {
        const found = proxy.judge.books().get('events');
        return found !== undefined && found[side][verdict] > 0 ? found : undefined;
      },
      WINDOW_MS + LIMIT_MS,
    );
    const isOfPairs = kind === 'wrong-type';
    const other = side === 'legacy' ? 'candidate' : 'legacy';
    expect(books[other][verdict]).toBe(isOfPairs ? books[side][verdict] : 0);
  },
  120_000,
);
