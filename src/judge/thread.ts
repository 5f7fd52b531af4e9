// The judge's thread: takes batches, gives their memory back, and says now and then how the books stand.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { NoiseAsked } from '../ports.ts';
import type { Contamination } from '../rules/isolation/incident.ts';
import type { IsolationBooks } from '../rules/isolation/isolation-books.ts';
import type { Marker } from '../rules/isolation/marker.ts';
import type { NoiseCounts } from '../rules/noise-tally.ts';
import type { Books } from '../rules/pairing/books.ts';
import type { Batch } from './batch.ts';
import { ContaminationWatch } from './contamination-watch.ts';
import { Docket, type RouteRules, WINDOW_MS } from './docket.ts';
import { EvidenceLine } from './evidence-line.ts';
import type { Taken } from './tap.ts';
import type { JudgedWrites } from './unanswered-writes.ts';

/** What the thread begins with. */
export interface JudgeData {
  readonly rules: RouteRules;
  /** See `secretHash`; another one whenever it begins anew. */
  readonly secret: Uint8Array;
  readonly markers: readonly Marker[];
  /** Routes whose addresses do not fit their users, as the one before has seen. */
  readonly mismatched: readonly string[];
}

/** What the thread is told. */
export type ToJudge =
  | Batch
  | ({ readonly kind: 'tick'; readonly time: number } & JudgedWrites)
  | { readonly kind: 'rules'; readonly rules: RouteRules }
  | { readonly kind: 'evidence'; readonly line: MessagePort; readonly examples: number }
  | { readonly kind: 'session'; readonly id: string; readonly ask: number }
  | { readonly kind: 'measure'; readonly route: string; readonly asked: NoiseAsked | null }
  | { readonly kind: 'noise'; readonly route: string; readonly ask: number }
  | { readonly kind: 'close'; readonly time: number };

/** What it says. */
export type FromJudge =
  | ({
      readonly kind: 'done';
      readonly bytes: ArrayBuffer;
      readonly exchangeBytes: number;
    } & Taken)
  | {
      readonly kind: 'report';
      readonly books: ReadonlyMap<string, Books>;
      readonly isolation: ReadonlyMap<string, IsolationBooks>;
      readonly openStreams: number;
      readonly failures: number;
      /** Of the last batch that was read, epoch ms. */
      readonly time: number;
    }
  | { readonly kind: 'session'; readonly ask: number; readonly books: Books | null }
  | { readonly kind: 'noise'; readonly ask: number; readonly counts: NoiseCounts | null }
  | { readonly kind: 'failure'; readonly error: unknown }
  | { readonly kind: 'contaminated'; readonly contamination: Contamination }
  | { readonly kind: 'closed' };

/** Failures that are told one by one; the rest is only counted. */
const MOST_TOLD = 20;
/**
 * A sweep takes 5 to 10 ms where all that legacy sends is `missing`: with two CPUs for everybody, clients' bytes waited
 * for it (bench/README.md).
 */
const SLICE_MS = 1;
const PAUSE_MS = 2;

const port = parentPort;
if (port === null) throw new Error('this is the judge thread; start it by `Judge`');
const evidence = new EvidenceLine();
let failures = 0;
let last = 0;
const { rules, secret, markers, mismatched } = workerData as JudgeData;
const watch = new ContaminationWatch({
  ...{ secret, markers, mismatched, windowMs: WINDOW_MS },
  now: () => performance.now(),
  onContamination: contamination => say({ kind: 'contaminated', contamination }),
  onHeld: settleIn,
});
let settling: NodeJS.Timeout | null = null;
let sweeping: NodeJS.Timeout | null = null;
let settleAt = 0;
const docket = new Docket({
  ...{ rules, watch },
  onFinding: (finding, subject) => evidence.add(finding, subject),
  onFailure: error => {
    failures += 1;
    if (failures <= MOST_TOLD) say({ kind: 'failure', error });
  },
});

port.on('message', (told: ToJudge) => {
  switch (told.kind) {
    case 'batch': {
      last = told.time;
      const { marks, settled } = docket.take(told);
      settle();
      const { bytes, exchangeBytes } = told;
      return port.postMessage(
        { kind: 'done', bytes, exchangeBytes, marks, settled } satisfies FromJudge,
        [bytes],
      );
    }
    case 'tick':
      // Each tick has its report, though it comes before the last sweep is through.
      if (sweeping !== null) endSweep();
      last = told.time;
      docket.beginSweep(told.time, told);
      return sweepOn();
    case 'rules':
      return docket.setRules(told.rules);
    case 'evidence':
      return evidence.use(told.line, told.examples);
    case 'session':
      return say({ kind: 'session', ask: told.ask, books: docket.booksOf(told.id) });
    case 'measure':
      return docket.noise.measure(told.route, told.asked);
    case 'noise':
      return say({ kind: 'noise', ask: told.ask, counts: docket.noise.counts(told.route) });
    case 'close':
      if (sweeping !== null) clearTimeout(sweeping);
      docket.close(told.time);
      watch.settleAll();
      if (settling !== null) clearTimeout(settling);
      report();
      return void evidence.close().then(() => {
        say({ kind: 'closed' });
        port.close();
      });
  }
});

/** In slices, with time for the threads that serve clients where they share a CPU with this one. */
function sweepOn(): void {
  const end = performance.now() + SLICE_MS;
  if (docket.sweepOn(() => performance.now() < end)) endSweep();
  else sweeping = setTimeout(sweepOn, PAUSE_MS);
}

/** All of it that is left, at once. */
function endSweep(): void {
  if (sweeping !== null) clearTimeout(sweeping);
  sweeping = null;
  docket.sweepOn();
  settle();
  evidence.flush(last);
  report();
}

function report(): void {
  const books = docket.books();
  const isolation = watch.books();
  say({ kind: 'report', books, isolation, openStreams: docket.openStreams, failures, time: last });
}

/** A timer may be early by a fraction of a millisecond. */
function settleIn(ms: number): void {
  const at = performance.now() + ms;
  if (settling !== null && settleAt <= at) return;
  if (settling !== null) clearTimeout(settling);
  settleAt = at;
  settling = setTimeout(() => {
    settling = null;
    settle();
  }, ms);
}

function settle(): void {
  const inMs = watch.settle();
  if (inMs !== null) settleIn(Math.ceil(inMs));
}

function say(what: FromJudge): void {
  port?.postMessage(what);
}
