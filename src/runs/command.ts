// `cutover demo`: what `npm start` runs.
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import pino from 'pino';
import { addFault, FAULTS, type FaultSetting } from '../broadcast/fault.ts';
import type { Proof } from '../control/proofs.ts';
import { CutoverError } from '../errors.ts';
import { nextSignal } from '../main.ts';
import { type DemoReport, isFlawless, type RunningDemo, startDemo } from './demo.ts';
import { onKeys } from './keys.ts';
import { duration, wholeNumber } from './option-values.ts';
import { tellTour } from './tour.ts';
import { isOfLeak } from './tour-lines.ts';

const DEFAULT_CONFIG = 'cutover.yaml';
const LINE_MS = 1_000;
/** A line of the tour is read in that time. */
const READ_MS = 3_000;

interface Flags {
  readonly users: number;
  readonly durationMs?: number;
  readonly json?: boolean;
  readonly unleash?: boolean;
  readonly fault: readonly FaultSetting[];
  readonly proofText: (proof: Proof) => string;
  readonly earlyRollbacks: () => number;
  readonly tour: boolean;
}

interface DemoWords {
  readonly users: number;
  readonly duration?: number;
  readonly json?: boolean;
  readonly unleash?: boolean;
  readonly fault: readonly FaultSetting[];
  readonly tour: boolean;
}

/** `proofText` makes a rollback's proof readable; `earlyRollbacks` as for `start`. */
export function demoCommand(
  proofText: (proof: Proof) => string,
  earlyRollbacks: () => number,
): Command {
  return new Command('demo')
    .description('run both reference services, the proxy, and users who come and go through it')
    .option('--users <n>', 'how many synthetic users', wholeNumber, 50)
    .option(
      '--duration <time>',
      'end by itself after so long (10s, 2m), in a folder and on ports of its own',
      duration,
    )
    .option('--unleash', 'let a real Unleash server decide (in a checkout; takes 10 s more)')
    .option(
      '--fault <name[:rate]>',
      `plant faults in the candidate, at most one a run; several allowed: ${FAULTS.join(', ')}`,
      addFault,
      [],
    )
    .option('--no-tour', 'do not tell first what Cutover is for')
    .option('--json', 'print the report as JSON at the end')
    .addHelpText(
      'after',
      `
Without --duration it runs until stopped, with ./${DEFAULT_CONFIG} if there is one, so that
\`cutover status\`, \`cutover stage\` and an editor on the flag files reach it.
On a terminal the key r rolls everything back, as cutover rollback does from another one; the proof is printed
either way, and cutover release ends it.
Without --duration, --fault, --json and --unleash it first tells in a minute what Cutover is for, in flags
that are at stage off, and leaves them so.
Exit code 1 if an event was lost, doubled or out of order, or somebody could not log in or was broken off.`,
    )
    .action(async (options: DemoWords) => {
      const { users, duration: durationMs, json = false, unleash = false, fault, tour } = options;
      process.exitCode = await demo({
        users,
        json,
        unleash,
        fault,
        proofText,
        earlyRollbacks,
        tour: tour && fault.length === 0 && !json && !unleash && durationMs === undefined,
        ...(durationMs === undefined ? {} : { durationMs }),
      });
    });
}

async function demo(flags: Flags): Promise<number> {
  const { users, durationMs, json, unleash = false, fault, tour, proofText } = flags;
  const starting = Promise.withResolvers<RunningDemo>();
  onSignals(starting.promise, json, flags.earlyRollbacks);
  const own = durationMs !== undefined || !existsSync(DEFAULT_CONFIG);
  // Sessions come and go by the thousand; the demo shows them as a line, and what it plants it tells itself.
  const logger = pino({ level: tour ? 'silent' : 'warn' }, terminalLog());
  const running = await startDemo({
    users,
    unleash,
    faults: fault,
    env: process.env,
    logger,
    ...(own ? {} : { config: DEFAULT_CONFIG }),
  });
  starting.resolve(running);
  const say = (text: string) => void process.stdout.write(text);
  if (!json) say(await introduction(running, own));
  const liveLine = json ? undefined : setInterval(line(running, say), LINE_MS);
  const { rollbacks } = running.proxy;
  let isTouring = tour;
  const sayProof = (proof: Proof) => {
    if (!isTouring || !isOfLeak(proof)) say(`\n${proofText(proof)}\n`);
  };
  if (!json) rollbacks.proofs.onOver(sayProof);
  const stop = nextSignal(['SIGINT', 'SIGTERM']);
  const letKeysGo = onKeys(process.stdin, {
    r: async () => {
      try {
        const { changed } = await rollbacks.rollback({ reason: 'the key r', by: 'operator demo' });
        if (!changed) say('\nheld on legacy already; cutover release ends that\n');
      } catch (error) {
        if (!(error instanceof CutoverError)) throw error;
        say(`\n${error.message}\n`);
      }
    },
  });
  const touring = new AbortController();
  if (tour) {
    const told = { say: fresh(say), readMs: READ_MS, signal: touring.signal };
    void tellTour({ demo: running, users, ...told }).then(() => {
      isTouring = false;
      logger.level = 'warn';
    });
  }
  await (durationMs === undefined
    ? stop
    : Promise.race([stop, new Promise(resolve => setTimeout(resolve, durationMs))]));
  letKeysGo();
  touring.abort();
  clearInterval(liveLine);
  if (!json) say('\nletting the visits under way end …\n');
  const report = await running.end();
  say(json ? `${JSON.stringify(report)}\n` : summary(report));
  return isFlawless(report) ? 0 : 1;
}

/**
 * SIGHUP and SIGUSR2 do what they do to `cutover start`, also while it is only starting. What comes of it is said
 * in any case: on a terminal that was closed, which sends SIGHUP as well, that ends the process.
 */
function onSignals(
  starting: Promise<RunningDemo>,
  json: boolean | undefined,
  earlyRollbacks: () => number,
): void {
  const say = (text: string) => void (json ? process.stderr : process.stdout).write(`\n${text}\n`);
  const onRollback = async (): Promise<void> => {
    const { proxy } = await starting;
    await proxy.rollBackBySignal();
    const { held } = proxy.rollbacks.latch;
    const scopes = held.map(({ scope }) => (scope === '*' ? 'everything' : scope)).join(', ');
    say(`SIGUSR2: held on legacy: ${scopes || 'nothing'}; cutover release ends that`);
  };
  const onReload = async (): Promise<void> => {
    const { ok, problems } = await (await starting).proxy.reload();
    const refused = `refused, the one before stays in force: ${problems.join('; ')}`;
    say(`SIGHUP: the configuration was ${ok ? 'read again' : refused}`);
  };
  process.on('SIGHUP', () => void onReload());
  process.on('SIGUSR2', () => void onRollback());
  for (let early = earlyRollbacks(); early > 0; early -= 1) void onRollback();
}

async function introduction(demo: RunningDemo, own: boolean): Promise<string> {
  const { proxy, services, unleash } = demo;
  const where =
    unleash === null ? '' : `Unleash    ${unleash} (user admin, password unleash4all)\n`;
  const edit = unleash === null ? 'edit flags/events.json' : 'change events.serve in Unleash';
  const tries = own
    ? ''
    : `
Try, in another terminal, in the same folder:
  npx cutover status                       what is going on
  npx cutover stage canary 25%             a quarter of the users move to the candidate
  npx cutover explain --user user_1007 --route events
  npx cutover stage off                    everybody is back on legacy
  npx cutover rollback --reason "a try"    everybody to legacy at once, as the key r does here
or ${edit} and watch the line below. Ctrl-C ends it.
To process ${process.pid}: kill -HUP reads cutover.yaml again, kill -USR2 rolls everything back.
`;
  const held = proxy.rollbacks.latch.held.map(
    ({ scope, at, reason }) =>
      `A rollback holds ${scope === '*' ? 'everything' : scope} on legacy since ${at} (${reason}); cutover release --reason … ends that.\n`,
  );
  return `proxy      ${proxy.listen}
admin API  ${await proxy.admin}
legacy     ${services.legacy}
candidate  ${services.candidate}
${where}${tries}${held.join('')}
`;
}

/** A log on stderr whose lines stand by themselves, whatever stands on the terminal's last one. */
function terminalLog(): { write(text: string): void } {
  const begin = process.stdout.isTTY ? '\r\x1b[K' : '';
  return { write: text => void process.stderr.write(begin + text) };
}

/** Says a line by itself, whatever stands on the terminal's last one. */
function fresh(say: (text: string) => void): (line: string) => void {
  return text => say(process.stdout.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
}

/** Rewrites one line on a terminal, prints one a second elsewhere. */
function line(running: RunningDemo, say: (text: string) => void): () => void {
  let before = running.report().eventsDelivered;
  return () => {
    const { eventsDelivered, lost, duplicated } = running.report();
    const { p50, p99 } = running.recentLatency();
    const { legacy, candidate } = running.online();
    const rate = ((eventsDelivered - before) * 1000) / LINE_MS;
    before = eventsDelivered;
    const text = [
      `${rate.toFixed(0).padStart(5)} events/s`,
      `users: legacy ${legacy}, candidate ${candidate}`,
      `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
      `lost ${lost}, doubled ${duplicated}`,
    ].join('   ');
    say(process.stdout.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  };
}

function summary(report: DemoReport): string {
  const { users, eventsSent, eventsDelivered, lost, duplicated, perSide, latencyMs, failures } =
    report;
  const went = Object.entries(failures).map(([how, n]) => `${how} ${n}`);
  return `${users} users, ${eventsSent} events due, ${eventsDelivered} delivered, ${lost} lost, ${duplicated} doubled
served by legacy ${perSide.legacy}, by candidate ${perSide.candidate}
latency p50 ${latencyMs.p50.toFixed(1)} ms, p99 ${latencyMs.p99.toFixed(1)} ms
visits that failed: ${went.join(', ')}
`;
}
