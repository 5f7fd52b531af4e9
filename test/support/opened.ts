// What tests opened is closed behind each of them, also where those of a file run side by side.
import { AsyncLocalStorage } from 'node:async_hooks';
import { aroundEach } from 'vitest';

interface Closable {
  /** What it returns is waited for. */
  close(): unknown;
}

/** For the tests of a file: what one of them pushes is closed when it is over, the last thing first. */
export function openedByTest(): { push(...things: readonly Closable[]): void } {
  const ofTest = new AsyncLocalStorage<Closable[]>();
  aroundEach(async run => {
    const opened: Closable[] = [];
    await ofTest.run(opened, run);
    for (const thing of opened.reverse()) await thing.close();
  });
  return {
    push: (...things) => {
      const opened = ofTest.getStore();
      if (opened === undefined) throw new Error('nothing is opened outside of a test');
      opened.push(...things);
    },
  };
}
