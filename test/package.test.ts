// What is packed is what runs: the tarball, installed elsewhere, demonstrates itself.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = path.join(import.meta.dirname, '..');
/** A build, a pack and an install from the registry; catches a hang. */
const LIMIT_MS = 240_000;

interface Locked {
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly optional?: boolean;
  readonly os?: unknown;
  readonly cpu?: unknown;
}

describe('the lock file', async () => {
  const lock = JSON.parse(await readFile(path.join(ROOT, 'package-lock.json'), 'utf8'));
  const manifest = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
  const packages = Object.entries(lock.packages as Record<string, Locked>).filter(
    ([place]) => place !== '',
  );

  test('has the integrity of every package, and names no registry', () => {
    expect(packages.length).toBeGreaterThan(100);
    expect(
      packages.filter(([, { integrity }]) => integrity === undefined).map(([place]) => place),
    ).toEqual([]);
    expect(
      packages.filter(([, { resolved }]) => resolved !== undefined).map(([place]) => place),
    ).toEqual([]);
  });

  test('holds no package with an install script that allowScripts does not list', () => {
    const scripted = packages
      .filter(([, { hasInstallScript }]) => hasInstallScript)
      .map(([place]) => place.split('node_modules/').at(-1));
    expect(
      scripted.filter(
        name =>
          !Object.keys(manifest.allowScripts).some(
            key => key === name || key.startsWith(`${name}@`),
          ),
      ),
    ).toEqual([]);
  });

  test('brings Node for several platforms, each only to its own', () => {
    const nodes = packages.filter(([place]) => /^node_modules\/node-(linux|darwin)-/.test(place));
    expect(nodes.length).toBeGreaterThanOrEqual(3);
    for (const [, { optional, os, cpu }] of nodes) {
      expect(optional).toBe(true);
      expect([os, cpu]).not.toContain(undefined);
    }
  });
});

describe('the packed program', () => {
  let folder: string;
  const installed = (...words: string[]) =>
    run(process.execPath, [path.join(folder, 'node_modules/cutover/bin/cutover.js'), ...words], {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '' },
    });

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'cutover-packed-'));
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: ROOT,
    });
    const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[\n')));
    const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--omit=optional'];
    await run('npm', ['install', ...quiet, path.join(folder, filename)], { cwd: folder });
  }, LIMIT_MS);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('says its version and shows that nothing is lost', async () => {
    const { version } = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
    expect((await installed('--version')).stdout.trim()).toBe(version);
    const { stdout } = await installed('demo', '--users', '3', '--duration', '4s', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ users: 3, lost: 0, duplicated: 0 });
    expect(JSON.parse(stdout).eventsDelivered).toBeGreaterThan(0);
  });

  test('runs what was built, not the sources', async () => {
    await expect(readFile(path.join(folder, 'node_modules/cutover/src/cli.ts'))).rejects.toThrow(
      'ENOENT',
    );
    await readFile(path.join(folder, 'node_modules/cutover/dist/cli.js'));
  });
});
