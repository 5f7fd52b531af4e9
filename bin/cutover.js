#!/usr/bin/env -S MALLOC_ARENA_MAX=2 node --min-semi-space-size=16 --max-semi-space-size=16
// Runs the built program when the package was installed, else the sources as they are: Node strips
// types by itself, but not for files below node_modules.
// By itself V8 lets the young generation grow to twice 64 MB, which a burst of 5,000 sessions fills: 24 kB
// of memory for each, and 14 with twice 32 MB. It makes it larger and smaller as it sees fit, and keeps the pages of its
// largest for itself (13.6): a process that does the same all the time had 260 to 340 MB, by turns. It is of one size
// here. Neither an event nor a request takes more CPU for it (bench/README.md). For the main thread V8 reads the flags as
// it starts: `v8.setFlagsFromString` changes nothing any more.
// The C library gives up to eight heaps a CPU to threads, of which there are some 25, and each keeps what its busiest
// moment took: 15 of them had 64 MB after minutes of every kind of traffic and were growing still, and one beside the
// main thread's has 20. It reads the variable as the process starts, too.
import { existsSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

// It reads them again for each thread that begins, where the flag for the most goes before a worker's `resourceLimits`.
setFlagsFromString('--max-semi-space-size=0');

// Names of services are looked up by the threads that write files, of which there are four by itself: a disk that
// hangs under as many journals would keep everybody from legacy. None of a proxy's writes waits in more than one.
process.env.UV_THREADPOOL_SIZE ??= '16';

// Before anything is loaded: a SIGUSR2 that nobody listens for would end the process, and it may be meant to
// roll back one that is only starting. `start` asks how many there were.
let early = 0;
const onEarly = () => {
  early += 1;
};
process.on('SIGUSR2', onEarly);

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `cutover needs Node 22.18 or newer; this is ${process.versions.node}. In a checkout, \`npm ci\` brings one: use \`npx cutover\` or the npm scripts.`,
  );
  // Of `compare` 1 is a verdict about the services.
  process.exit(process.argv[2] === 'compare' ? 3 : 1);
}
const built = new URL('../dist/cli.js', import.meta.url);
const source = new URL('../src/cli.ts', import.meta.url);
const { run } = await import((existsSync(source) ? source : built).href);
await run(process.argv, () => {
  process.off('SIGUSR2', onEarly);
  return early;
});
