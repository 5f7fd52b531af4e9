// How many pairs of 512-byte events the judge takes in a second of one thread's CPU: batches as the
// lanes make them, frames, JSON, pairing, comparison, books.
import { CompareSchema } from '../src/config/compare-schema.ts';
import type { Batch } from '../src/judge/batch.ts';
import { ContaminationWatch } from '../src/judge/contamination-watch.ts';
import { Docket, WINDOW_MS } from '../src/judge/docket.ts';
import { BatchTap } from '../src/judge/tap.ts';
import { UnansweredWrites } from '../src/judge/unanswered-writes.ts';
import { SIDES } from '../src/rules/decide.ts';
import { DEFAULT_ISOLATION } from '../src/rules/isolation/rules.ts';
import { SECRET_BYTES } from '../src/rules/isolation/secret-hash.ts';
import { FrameTracker } from '../src/wire/frames.ts';
import { eventFrame } from './event.ts';

const USERS = 200;
/** Of each user: engines compile what is hot in the first fifth. */
const EVENTS = 1_000;
const WARM_UP = 200;

const RULES = {
  compare: CompareSchema.parse({
    key: { first: ['/number'] },
    allow: [{ path: '/sent_us', as: 'anything' }],
  }),
  noise: null,
  isolation: DEFAULT_ISOLATION,
};

export function judgePairsPerSec(): number {
  const clock = { ms: 1_000 };
  const docket = new Docket({
    rules: { events: RULES },
    watch: new ContaminationWatch({
      ...{
        secret: new Uint8Array(SECRET_BYTES),
        markers: [],
        windowMs: 5_000,
        now: () => clock.ms,
      },
      ...{ onContamination: () => undefined, onHeld: () => undefined },
    }),
    onFinding: () => undefined,
    onFailure: error => {
      throw error;
    },
  });
  const batches: Batch[] = [];
  const tap = new BatchTap({
    send: batch => void batches.push(batch),
    now: () => clock.ms,
    writes: new UnansweredWrites(WINDOW_MS),
  });
  const users = Array.from({ length: USERS }, (_, i) => {
    const subject = { id: `user_${i}`, aliases: [] };
    const stream = tap.stream({ route: 'events', id: `s${i}`, format: 'websocket', subject });
    const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
    for (const side of SIDES) stream.legOpened(side, trackers[side]);
    return { stream, trackers };
  });
  let cpuUs = 0;
  for (let number = 0; number < EVENTS; number += 1) {
    clock.ms += 20;
    for (const { stream, trackers } of users) {
      for (const [i, side] of SIDES.entries()) {
        stream.follow(side, eventFrame(clock.ms * 1_000 + i, number), trackers[side]);
      }
    }
    tap.flush();
    const before = process.cpuUsage();
    for (const batch of batches) docket.take(batch);
    const { user, system } = process.cpuUsage(before);
    if (number >= WARM_UP) cpuUs += user + system;
    for (const { bytes } of batches.splice(0))
      tap.returned(bytes as ArrayBuffer, 0, { marks: [], settled: [] });
  }
  const { legacy } = docket.books().get('events') ?? {};
  const pairs = (legacy?.match ?? 0) + (legacy?.noise ?? 0);
  if (pairs < USERS * EVENTS * 0.99) throw new Error(`only ${pairs} events found their pair`);
  return (USERS * (EVENTS - WARM_UP)) / (cpuUs / 1_000_000);
}
