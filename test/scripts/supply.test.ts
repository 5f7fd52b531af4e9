// `scripts/supply` on the project itself, and on folders whose packages are not as they should be.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

const SUPPLY = path.join(import.meta.dirname, '../../scripts/supply');

function supply(...folder: string[]) {
  const { status, stdout, stderr } = spawnSync(SUPPLY, folder, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** Judges a folder with these packages locked. */
function supplyOf(packages: Record<string, object>, allowScripts: object = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'cutover-supply-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ allowScripts }));
  writeFileSync(
    path.join(folder, 'package-lock.json'),
    JSON.stringify({ lockfileVersion: 3, packages: { '': {}, ...packages } }),
  );
  return supply(folder);
}

const good = { version: '1.0.0', license: 'MIT' };

test('the project is made of nothing that is known to be unsafe', () => {
  const { status, stdout, stderr } = supply();
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^ws +\d+\.\d+\.\d+ +MIT$/m);
  expect(stdout).toMatch(/^http-proxy-3 /m);
  // Tools are not shipped.
  expect(stdout).not.toMatch(/^vitest /m);
});

test.each([
  ['8.21.0', 1],
  ['8.9.9', 1],
  ['7.99.9', 1],
  ['8.21.1-rc.1', 1],
  ['8.21.1', 0],
  ['8.22.0-rc.1', 0],
  ['8.100.0', 0],
  ['9.0.0', 0],
])('ws %s ends with %i', (version, code) => {
  const { status, stderr } = supplyOf({ 'node_modules/ws': { ...good, version } });
  expect(status).toBe(code);
  if (code === 1)
    expect(stderr).toBe(
      `supply: ws ${version} is below 8.21.1, the first that is known to be safe\n`,
    );
});

test('a package deep in the tree counts, a tool does not', () => {
  const undici = { ...good, version: '6.0.0' };
  expect(supplyOf({ 'node_modules/a/node_modules/undici': undici }).stderr).toContain(
    'undici 6.0.0',
  );
  const tool = supplyOf({
    'node_modules/b': good,
    'node_modules/undici': { ...undici, dev: true },
  });
  expect(tool.status).toBe(0);
});

test('an optional package counts, and one that a tool uses besides', () => {
  for (const flag of ['optional', 'devOptional']) {
    const undici = { ...good, version: '6.0.0', [flag]: true };
    expect(supplyOf({ 'node_modules/undici': undici }).stderr).toContain('undici 6.0.0');
  }
});

test('http-proxy is recognised by its own name, whatever it is installed as', () => {
  expect(supplyOf({ 'node_modules/http-proxy': good }).stderr).toContain('http-proxy-3 is');
  expect(supplyOf({ 'node_modules/p': { ...good, name: 'http-proxy' } }).status).toBe(1);
  expect(supplyOf({ 'node_modules/http-proxy': { ...good, name: 'http-proxy-3' } }).status).toBe(0);
});

test('an install script has to be allowed by name', () => {
  const packages = { 'node_modules/a': { ...good, hasInstallScript: true } };
  expect(supplyOf(packages).stderr).toContain('a 1.0.0 runs a script');
  expect(supplyOf(packages, { b: true, a: false }).status).toBe(1);
  expect(supplyOf(packages, { a: true }).status).toBe(0);
  expect(supplyOf(packages, { 'a@1.0.0': true }).status).toBe(0);
});

test('a package without a licence, and a lock without packages, are refused', () => {
  expect(supplyOf({ 'node_modules/a': { version: '1.0.0' } }).stderr).toContain('names no licence');
  expect(supplyOf({}).status).toBe(1);
});
