// Programs that tests need and that npm does not bring. `scripts/check` installs them where it can. A
// missing one is named, and where CI is set that is a failure; elsewhere the tests are left out.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Debian's Python, which has Debian's modules; a `python3` on the path may be another one. */
export const PYTHON = '/usr/bin/python3';

export function hasProgram(file: string, aptPackage: string): boolean {
  return orNamed(existsSync(file), `${file} is missing: apt-get install ${aptPackage}`);
}

export function hasPythonModule(name: string): boolean {
  const found = spawnSync(PYTHON, ['-c', `import ${name}`]).status === 0;
  return orNamed(found, `${PYTHON} has no ${name}: apt-get install python3-${name}`);
}

/** Root on Linux, with `ip` at hand and the right to make network namespaces. */
export function hasNetworkNamespaces(): boolean {
  const name = `cutover-probe-${process.pid}`;
  const found = spawnSync('ip', ['netns', 'add', name]).status === 0;
  if (found) spawnSync('ip', ['netns', 'del', name]);
  return orNamed(found, 'network namespaces can not be made: be root, apt-get install iproute2');
}

/** Root on Linux, with the right to mount: a disk that is full is a small one in memory. */
export function hasSmallDisks(): boolean {
  const folder = mkdtempSync(path.join(tmpdir(), 'cutover-probe-'));
  const found =
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'none', folder]).status === 0 &&
    spawnSync('umount', [folder]).status === 0;
  rmSync(folder, { recursive: true, force: true });
  return orNamed(
    found,
    'a small disk (tmpfs) can not be mounted: be root, with the right to mount',
  );
}

function orNamed(found: boolean, what: string): boolean {
  if (found) return true;
  if (process.env.CI) throw new Error(what);
  console.warn(`tests are left out, since ${what}`);
  return false;
}
