// A machine of its own at the end of a cable that can be pulled: a network namespace, joined to ours by
// a pair of virtual interfaces. Needs Linux, root and `ip` (iproute2).
import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface FarEnd {
  /** Our address on the cable, and the other machine's. */
  readonly near: string;
  readonly far: string;
  /** Runs a Node script there, as an ES module; resolves to the first line that it prints. */
  run(script: string): Promise<string>;
  /** Nothing goes either way from now on, and nobody is told. */
  pull(): void;
  close(): void;
}

/** `id` tells machines apart that live at the same time: 0 to 255. */
export function farEnd(id: number): FarEnd {
  const name = `cutover-${process.pid}-${id}`;
  // Interface names have 15 bytes at most.
  const [ours, theirs] = [`cuta${id}-${process.pid}`, `cutb${id}-${process.pid}`];
  const [near, far] = [`10.213.${id}.1`, `10.213.${id}.2`];
  const children: { kill(signal: 'SIGKILL'): unknown }[] = [];
  ip('netns', 'add', name);
  ip('link', 'add', ours, 'type', 'veth', 'peer', 'name', theirs, 'netns', name);
  ip('addr', 'add', `${near}/30`, 'dev', ours);
  ip('link', 'set', ours, 'up');
  ip('-n', name, 'addr', 'add', `${far}/30`, 'dev', theirs);
  ip('-n', name, 'link', 'set', theirs, 'up');
  ip('-n', name, 'link', 'set', 'lo', 'up');
  return {
    near,
    far,
    run: script =>
      new Promise((resolve, reject) => {
        const child = spawn(
          'ip',
          ['netns', 'exec', name, process.execPath, '--input-type=module', '-e', script],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        children.push(child);
        child.once('exit', code => reject(new Error(`the script ended with ${code}`)));
        createInterface(child.stdout).once('line', resolve);
      }),
    pull: () => ip('-n', name, 'link', 'set', theirs, 'down'),
    close: () => {
      for (const child of children) child.kill('SIGKILL');
      ip('netns', 'del', name);
    },
  };
}

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}
