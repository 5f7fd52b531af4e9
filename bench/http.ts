// What a proxy costs in front of an HTTP API: wrk with 50 keep-alive connections, 250-byte JSON
// answers, connections to the upstream kept as well. CPU with as many requests as go through, latency
// at some 1,000 requests/s.

import type { ServerQuestion } from './answer-server.ts';
import { type Comparison, compare, printComparison, type TargetsOf } from './comparison.ts';
import { cpuUs } from './machine.ts';
import { type Turn, takeTurns, watched } from './rounds.ts';
import { contestants, type Line, Stage } from './stage.ts';
import { bearerOf } from './user.ts';
import { Worker } from './worker.ts';
import { runWrk } from './wrk.ts';

const CONNECTIONS = 50;
const BUSY_S = 3;
const CALM_S = 3;
/** Of each connection between two requests: 50 of them make 1,000 requests/s. */
const CALM_PAUSE_MS = 50;
/** Before a figure counts: engines compile what is hot. */
const WARM_UP_S = 4;

export async function benchHttp({ json }: { json: boolean }): Promise<Comparison> {
  const server = new Worker<ServerQuestion, number>('./answer-server.ts');
  const stage = await Stage.set(() => server.ask({ listen: true }));
  const say = (text: string) => (json ? undefined : console.log(text));
  try {
    const lines: Line[] = [];
    for (const name of contestants()) {
      const line = await stage.line(name);
      await load(line, WARM_UP_S);
      lines.push(line);
    }
    const turns = await takeTurns(lines, line => turnOf(line, server.pid), say);
    // Idle connections are weighed where they are many: WebSockets.
    const result = compare(turns, new Map(), targetsOf);
    if (!json) printComparison(result);
    return result;
  } finally {
    await stage.strike();
    await server.stop();
  }
}

/** The same bound with an agent that keeps connections, which is the harder one. */
const targetsOf: TargetsOf = (_peers, { toHttpProxy, toHttpProxyAgent }) =>
  (
    [
      ["CPU per request to http-proxy's, as it comes", toHttpProxy],
      ["CPU per request to http-proxy's with an agent", toHttpProxyAgent],
    ] as const
  ).flatMap(([what, value]) =>
    value === null ? [] : [{ what, value, of: 'cpu' as const, most: 0.5 }],
  );

async function turnOf(line: Line, serverPid: number): Promise<Turn> {
  const beforeUs = cpuUs(line.pids);
  const busy = await load(line, BUSY_S);
  const afterUs = cpuUs(line.pids);
  const calm = await watched([process.pid, serverPid, ...line.pids], () =>
    load(line, CALM_S, CALM_PAUSE_MS),
  );
  return {
    cpuUsPerUnit: line.pids.length === 0 ? null : (afterUs - beforeUs) / busy.requests,
    unitsPerSec: busy.requests / (busy.durationUs / 1_000_000),
    p50Ms: calm.result.p50Us / 1_000,
    p99Ms: calm.result.p99Us / 1_000,
    busy: calm.busy,
  };
}

async function load({ port }: Line, seconds: number, pauseMs?: number) {
  return runWrk({
    url: `http://127.0.0.1:${port}/api/items/1`,
    connections: CONNECTIONS,
    seconds,
    authorization: await bearerOf('user_1000'),
    ...(pauseMs === undefined ? {} : { pauseMs }),
  });
}
