// Row 49, by names: services whose address moves, whose name does not exist, or is never answered. In a
// network of its own with a name server of its own.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { hasNetworkNamespaces } from '../support/tools.ts';
import type { Found } from './names-scenario.ts';

/** `connectTimeoutMs` of the scenario is 500. */
const MOST_MS = 5_000;

describe.skipIf(!hasNetworkNamespaces())('49: a service whose name', () => {
  let found: Found;
  beforeAll(async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'cutover-names-'));
    const resolver = path.join(folder, 'resolv.conf');
    await writeFile(resolver, 'nameserver 127.0.0.1\n');
    const scenario = path.join(import.meta.dirname, 'names-scenario.ts');
    const { stdout } = await promisify(execFile)('unshare', [
      ...['--net', '--mount', 'sh', '-c'],
      'ip link set lo up && mount --bind "$1" /etc/resolv.conf && exec "$2" "$3"',
      ...['sh', resolver, process.execPath, scenario],
    ]);
    await rm(folder, { recursive: true });
    found = JSON.parse(stdout);
  }, 120_000);

  test('moves is found at its new address by the next connection', () => {
    expect(found.moved).toEqual(['127.0.0.2', '127.0.0.3']);
  });

  test('does not exist is a 502', () => {
    expect(found.missing.said).toBe('502 upstream-unreachable');
    expect(found.missing.ms).toBeLessThan(MOST_MS);
  });

  /** The fault: two look-ups that hung kept every other name from being looked up. */
  test.each(['routed', 'unrouted'] as const)(
    'is never answered is a 504 in time, and the other service is as near as ever (%s)',
    lane => {
      const { silent, beside } = found[lane];
      expect(silent.map(({ said }) => said)).toEqual(silent.map(() => '504 upstream-timeout'));
      expect(Math.max(...silent.map(({ ms }) => ms))).toBeLessThan(MOST_MS);
      expect(beside.said).toBe('127.0.0.2');
    },
  );
});
