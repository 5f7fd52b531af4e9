// hostile.md, row 54, with real processes: the benchmark's own, which counts at the clients.
import { expect, test } from 'vitest';
import { onRollbackLine } from '../../bench/rollback-line.ts';

const SESSIONS = 5_000;
/** Under so many events a second. */
const PER_SECOND = 1_000;

test('54: 5,000 open sessions go to legacy with one command: none is closed, none is left, nothing lost or doubled', {
  timeout: 120_000,
}, async () => {
  await onRollbackLine(SESSIONS, 'live', async line => {
    await line.begin(PER_SECOND);
    await line.allWarm();
    const proof = await line.rollBack(false);
    expect(proof).toMatchObject({
      ...{ state: 'complete', stillOnCandidate: 0 },
      sessions: { affected: SESSIONS, inPlace: SESSIONS, closed: 0, failed: 0, pending: 0 },
    });
    // Ten times what the benchmark is held to: a test shares its machine.
    expect(proof.lastCandidateByte?.afterMs ?? 0).toBeLessThan(1_000);
    const { legacy, candidate } = await line.events();
    expect([legacy.openSessions, candidate.openSessions]).toEqual([SESSIONS, 0]);
    const noticed = await line.end({ sinceUs: 0, windows: {} });
    expect(noticed).toMatchObject({ disconnects: 0, lost: 0, duplicated: 0, outOfOrder: 0 });
  });
});
