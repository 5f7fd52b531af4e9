// Threads beside the main one give way to it, and it does not.
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';

/** Place of a thread's niceness in /proc/PID/task/TID/stat, behind the command: see proc(5). */
const NICE_AT = 16;

function niceOf(thread: string | number): number {
  const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[NICE_AT]);
}

test.runIf(process.platform === 'linux')('a thread gives way, and no other one does', async () => {
  const before = new Map(readdirSync('/proc/self/task').map(thread => [thread, niceOf(thread)]));
  const module = new URL('../src/priority.ts', import.meta.url).href;
  const code = `
    import(${JSON.stringify(module)}).then(({ giveWay }) => {
      const { readlinkSync } = require('node:fs');
      const { parentPort } = require('node:worker_threads');
      const has = giveWay();
      parentPort.postMessage({ has, thread: readlinkSync('/proc/thread-self').split('/').at(-1) });
      setInterval(() => undefined, 1_000);
    });`;
  const worker = new Worker(code, { eval: true });
  const [{ has, thread }] = await once(worker, 'message');
  expect(has).toBe(true);
  expect(niceOf(thread)).toBe(5);
  for (const [other, nice] of before) {
    if (readdirSync('/proc/self/task').includes(other)) expect(niceOf(other)).toBe(nice);
  }
  await worker.terminate();
});
