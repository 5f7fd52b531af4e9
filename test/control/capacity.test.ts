import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { capacityWarnings, readSystemLimits } from '../../src/control/capacity.ts';

const TWO = ['http://10.0.0.1:9001', 'http://10.0.0.2:9001'];

describe('a warning', () => {
  test('says how many sessions the open files will carry', () => {
    const files = (openFiles: number) =>
      capacityWarnings({ maxSessions: 1_000, upstreams: TWO, limits: { openFiles } });
    expect(files(3_200)).toEqual([]);
    expect(files(3_199)).toEqual([expect.stringMatching(/need 3200 open files.*enough for 999/)]);
    expect(files(100)).toEqual([expect.stringMatching(/enough for 0 sessions/)]);
  });

  test('says when one address of a service takes more connections than there are ports', () => {
    const ports = (upstreams: string[], maxSessions: number) =>
      capacityWarnings({ maxSessions, upstreams, limits: { portRange: [1_000, 1_999] } });
    expect(ports(TWO, 1_000)).toEqual([]);
    expect(ports(TWO, 1_001)).toEqual([
      expect.stringMatching(/1001 connections to 10\.0\.0\.1:9001.*1000 local ports/),
      expect.stringMatching(/to 10\.0\.0\.2:9001/),
    ]);
    // Legacy and candidate behind one address share its ports.
    expect(ports(['http://a/x', 'http://a:80/y'], 501)).toHaveLength(1);
    expect(ports(['http://a/', 'https://a/'], 501)).toEqual([]);
  });

  test('is not given where nothing is known', () => {
    fc.assert(
      fc.property(fc.nat(), maxSessions => {
        expect(capacityWarnings({ maxSessions, upstreams: TWO, limits: {} })).toEqual([]);
      }),
    );
  });
});

describe("the system's limits", () => {
  let proc: string;
  beforeEach(async () => {
    proc = await mkdtemp(join(tmpdir(), 'cutover-proc-'));
  });
  afterEach(() => rm(proc, { recursive: true }));

  test('are read where the system tells them', async () => {
    await mkdir(join(proc, 'self'));
    await mkdir(join(proc, 'sys/net/ipv4'), { recursive: true });
    await writeFile(
      join(proc, 'self/limits'),
      'Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n',
    );
    await writeFile(join(proc, 'sys/net/ipv4/ip_local_port_range'), '32768\t60999\n');
    expect(await readSystemLimits(proc)).toEqual({ openFiles: 1_024, portRange: [32_768, 60_999] });
  });

  test('are unknown where it does not, or where there is none', async () => {
    expect(await readSystemLimits(proc)).toEqual({});
    await mkdir(join(proc, 'self'));
    await writeFile(join(proc, 'self/limits'), 'Max open files   unlimited   unlimited   files\n');
    expect(await readSystemLimits(proc)).toEqual({});
  });
});
