// The evidence thread: takes batches from the judge's lines, redacts and keeps them, answers questions.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { DEFAULT_RULES } from '../../rules/compare/rules.ts';
import type { FromEvidenceLine, ToEvidenceLine } from '../../rules/evidence-batch.ts';
import { keyedHash } from '../../rules/keyed-hash.ts';
import { Redactor } from '../../rules/redaction.ts';
import { isOf } from '../../rules/unit-tracker.ts';
import { EvidenceKeeper } from './keeper.ts';
import type { EvidenceSettings, EvidenceThreadData, FromEvidence, ToEvidence } from './messages.ts';
import type { EvidenceQueries } from './queries.ts';

/** What is too old goes within so long after it is. */
const RETAIN_MS = 60_000;

const { file, key, settings: first } = workerData as EvidenceThreadData;
const hash = keyedHash(key);
/** Of a route that was never configured. */
const plain = new Redactor({ paths: [], envelopes: DEFAULT_RULES.envelopes, hash });
let redactors = redactorsOf(first);
const keeper = new EvidenceKeeper({
  file,
  limits: first.limits,
  redactorOf: route => redactors.get(route) ?? plain,
});
/** The judge's, each with the routes (null: all) of which it was told to forget, and has not said that it has. */
const lines = new Map<MessagePort, (string | null)[]>();
keeper.retain(Date.now());
const retaining = setInterval(() => {
  keeper.retain(Date.now());
  report();
}, RETAIN_MS);
report();

parentPort?.on('message', (message: ToEvidence) => {
  if (message.kind === 'line') listen(message.port);
  else if (message.kind === 'ask') answer(message);
  else if (message.kind === 'settings') {
    redactors = redactorsOf(message.settings);
    keeper.limit(message.settings.limits);
  } else {
    clearInterval(retaining);
    keeper.close();
    report();
    process.exit(0);
  }
});

function listen(port: MessagePort): void {
  const forgetting: (string | null)[] = [];
  lines.set(port, forgetting);
  port.on('close', () => lines.delete(port));
  port.on('message', (told: FromEvidenceLine) => {
    if (told.kind === 'forgotten') return void forgetting.shift();
    const { batch } = told;
    // It was under way when counting began anew.
    const isForgotten = (of: { readonly route: string }) =>
      forgetting.some(route => isOf(of, route));
    try {
      keeper.keep({ ...batch, units: batch.units.filter(count => !isForgotten(count)) });
    } catch (error) {
      say({ kind: 'fault', error });
    }
    report();
    port.postMessage({ kind: 'done' } satisfies ToEvidenceLine);
  });
}

function restart(of: Parameters<EvidenceQueries['restart']>[0]) {
  const counted = keeper.restart(of);
  const route = of.route ?? null;
  for (const [port, forgetting] of lines) {
    forgetting.push(route);
    port.postMessage({ kind: 'forget', route } satisfies ToEvidenceLine);
  }
  return counted;
}

function answer({ id, name, question }: ToEvidence & { kind: 'ask' }): void {
  try {
    // Both ends are of the same version, and the main thread's types hold the question to the name.
    const value =
      name === 'restart' ? restart(question as never) : keeper.ask(name, question as never);
    // A question may be what finds the file damaged.
    report();
    say({ kind: 'answer', id, value });
  } catch (error) {
    say({ kind: 'refusal', id, message: error instanceof Error ? error.message : String(error) });
  }
}

function report(): void {
  say({ kind: 'report', report: keeper.report() });
}

function say(message: FromEvidence): void {
  parentPort?.postMessage(message);
}

function redactorsOf({ redact }: EvidenceSettings): Map<string, Redactor> {
  const rules = Object.entries(redact);
  return new Map(rules.map(([route, of]) => [route, new Redactor({ ...of, hash })]));
}
