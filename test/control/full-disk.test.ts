// 66: a disk that takes a part of a record and no more: that part is taken back, what it was for is refused, and
// the next record is whole.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Audit } from '../../src/control/audit.ts';
import { Latch } from '../../src/control/latch.ts';
import { hasSmallDisks } from '../support/tools.ts';

/** A disk gives room by pages of so many bytes; a full one still has what is left of a file's last page. */
const PAGE_BYTES = 4_096;
/** Less than any record. */
const ROOM_BYTES = 40;

describe.skipIf(!hasSmallDisks())('66: where the disk is full in the middle of a record', () => {
  let disk: string;
  beforeEach(async () => {
    disk = await mkdtemp(path.join(tmpdir(), 'cutover-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', disk]);
  });
  afterEach(async () => {
    execFileSync('umount', [disk]);
    await rm(disk, { recursive: true });
  });

  const fill = () =>
    expect(() => writeFileSync(path.join(disk, 'other'), Buffer.alloc(1_048_576))).toThrow(
      'ENOSPC',
    );
  const makeRoom = () => rmSync(path.join(disk, 'other'));
  /** A reason by which a file of `size` bytes and one more record, of `bytes` with a reason of one letter, is nearly full. */
  const reasonFor = (size: number, bytes: number) =>
    'x'.repeat(PAGE_BYTES - ROOM_BYTES - size - bytes + 1);

  test('a release is refused, the latch is as before byte for byte, and what is said later is whole', async () => {
    const file = path.join(disk, 'latch.jsonl');
    const by = 'operator alice';
    const latch = await Latch.open(disk);
    expect(await latch.hold('latched', { scope: 'api', reason: 'x', by }).written).toBe(true);
    const { size } = statSync(file);
    const reason = reasonFor(size, size + 'events'.length - 'api'.length);
    expect(await latch.hold('latched', { scope: 'events', reason, by }).written).toBe(true);
    const before = readFileSync(file);
    expect(before.length).toBe(PAGE_BYTES - ROOM_BYTES);
    fill();
    const release = { scope: 'events', reason: 'fixed', by };
    for (let times = 0; times < 2; times += 1) {
      await expect(latch.release(release)).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(/^the latch stays: .* \(ENOSPC\)$/),
      });
      expect(readFileSync(file)).toEqual(before);
    }
    expect(await latch.hold('severed', { scope: '*', reason: 'worse', by }).written).toBe(false);
    expect(readFileSync(file)).toEqual(before);
    expect(latch.on('other')).toBe('severed');
    const again = await Latch.open(disk);
    expect(again).toMatchObject({ damaged: 0, epoch: 2 });
    expect([again.on('api'), again.on('events'), again.on('other')]).toEqual([
      ...['latched', 'latched', null],
    ]);
    makeRoom();
    await latch.release(release);
    const after = await Latch.open(disk);
    expect(after).toMatchObject({ held: latch.held, damaged: 0 });
    expect(after.held.map(({ scope, state }) => [scope, state])).toEqual([
      ['api', 'latched'],
      ['*', 'severed'],
    ]);
    expect(readFileSync(file).subarray(0, before.length)).toEqual(before);
  });

  test('what an operator changes is refused, the trail is as before byte for byte, and its chain goes on', async () => {
    const file = path.join(disk, 'audit.jsonl');
    const audit = new Audit(pino({ level: 'silent' }), () => new Date(0));
    await audit.keepIn(disk);
    const act = (reason: string) => ({
      ...{ by: 'operator alice', action: 'stage', reason },
      details: {},
    });
    await audit.record(act('x'));
    const { size } = statSync(file);
    await audit.record(act(reasonFor(size, size)));
    const before = readFileSync(file);
    expect(before.length).toBe(PAGE_BYTES - ROOM_BYTES);
    fill();
    for (let times = 0; times < 2; times += 1) {
      await expect(audit.record(act('lost'))).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(/^nothing was changed, because .*audit\.jsonl.*\(ENOSPC\)/),
      });
      expect(readFileSync(file)).toEqual(before);
    }
    makeRoom();
    expect(await audit.record(act('y'))).toMatchObject({ seq: 3 });
    expect(await audit.verify()).toMatchObject({ entries: 3, fault: null });
    expect(readFileSync(file).subarray(0, before.length)).toEqual(before);
  });
});
