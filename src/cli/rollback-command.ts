// `cutover rollback` and `cutover release`: everybody back to legacy at once, and flags in charge again.
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Proof } from '../control/proofs.ts';
import type { Released, RolledBack } from '../control/rollbacks.ts';
import { type AdminClient, type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure, NOT_UNDERSTOOD } from './failure.ts';
import { paint, plain, print } from './output.ts';
import { proofText } from './proof-text.ts';

/** A proof that is not through is asked for so often. */
const ASK_MS = 100;

const ROLLBACK_HELP = `
New requests and connections go to legacy at once, whatever flags say, and open WebSockets go over with
their second leg, or are dialled for at limits.movesPerS; those that can not be moved are told to come
again (1012) at that pace. It holds, over restarts, until cutover release. The candidate is shown traffic
and writes as before, unless --sever stops that too. The command waits until it is through and prints
what became of every session, and when the candidate's last byte went out. Asked again it says so, and
tries again whatever is left. A route that is in stage complete, or was, where legacy has not heard of everything, stays
without --accept-stale, and the others go: each is held by itself then (cutover release --route).

Ends with 0 if all are on legacy, 1 if it was refused, 2 if nobody answers, 3 if something is left, or if the
proof could not be waited for, 64 if the command was not understood.
Without admin port or token: kill -USR2 <pid of the proxy>.

Examples:
  cutover rollback --reason "events lost, incident 4711"
  cutover rollback --route events --reason "p99 doubled"
  cutover rollback --reason "candidate leaks" --sever`;

const RELEASE_HELP = `
Flags decide again, and sessions move as they say: look at cutover stage before. Without --route what
holds everything is released, and routes that were rolled back by themselves stay. A release that can not
be written to the state folder is refused.

Ends with 0 if flags decide again, now or already, 1 if it was refused, 2 if nobody answers, 3 if something
still holds what was to be released, 64 if the command was not understood.

Examples:
  cutover release --reason "fixed in 1.4.2"
  cutover release --route events --reason "p99 is fine again"`;

interface RollbackOptions extends AdminPlace {
  readonly reason?: string;
  readonly route?: string;
  readonly sever?: boolean;
  readonly acceptStale?: boolean;
}

export function rollbackCommand(): Command {
  return remoteCommand('rollback')
    .description('take everybody back to legacy at once, and hold them there')
    .option('--reason <text>', 'why, for whoever asks later')
    .option('--route <name>', 'this route alone (default: all)')
    .option('--sever', 'send the candidate nothing any more: no second legs, no writes')
    .option(
      '--accept-stale',
      'where the stage is complete, or was: legacy has not heard of everything',
    )
    .addHelpText('after', ROLLBACK_HELP)
    .action(runRollback);
}

export function releaseCommand(): Command {
  return remoteCommand('release')
    .description('let flags decide again after a rollback')
    .option('--reason <text>', 'why, for whoever asks later')
    .option('--route <name>', 'what holds this route alone (default: what holds all)')
    .addHelpText('after', RELEASE_HELP)
    .action(async ({ reason, route, json = false, ...place }: RollbackOptions) => {
      if (reason === undefined) throw new CommandFailure(NOT_UNDERSTOOD, 'say why: --reason "…"');
      const admin = await connectAdmin(place);
      const released = await admin.post<Released>('/release', { reason, route });
      print(released, json, releasedText);
      const held = released.held.map(({ scope }) => plain(scope));
      if (held.length > 0) throw new CommandFailure(3, `still held on legacy: ${held.join(', ')}`);
    });
}

async function runRollback(options: RollbackOptions): Promise<void> {
  const { reason, route, sever, acceptStale, json = false } = options;
  if (reason === undefined) throw new CommandFailure(NOT_UNDERSTOOD, 'say why: --reason "…"');
  const admin = await connectAdmin(options);
  const body = { reason, route, sever, acceptStale };
  const answer = await admin.post<RolledBack>('/rollback', body);
  // Said before it is waited for: from here on it holds.
  if (!json) process.stdout.write(`${heldText(answer)}\n`);
  const proof = answer.proof === null ? null : await throughWith(admin, answer.proof);
  if (json) print({ ...answer, proof }, true, () => '');
  else if (proof !== null) process.stdout.write(`${proofText(proof)}\n`);
  const left: string[] = [];
  if (proof?.state === 'partly') {
    left.push('something is left on the candidate; it goes to legacy as soon as that can be had');
  }
  if (answer.stale.length > 0) left.push(staleText(answer.stale));
  if (left.length > 0) throw new CommandFailure(3, left.join('\n'));
}

async function throughWith(admin: AdminClient, begun: Proof): Promise<Proof> {
  let proof = begun;
  while (proof.state === 'running') {
    await pause(ASK_MS);
    proof = await admin.get<Proof>(`/proofs/${begun.id}`).catch(error => {
      if (!(error instanceof CommandFailure)) throw error;
      const message = `it holds, and its proof ${begun.id} can not be had: ${error.message}`;
      throw new CommandFailure(3, message, error);
    });
  }
  return proof;
}

function staleText(routes: readonly string[]): string {
  const names = routes.map(plain).join(', ');
  return `NOT rolled back: ${names}; the stage is complete, or was, so legacy has not heard of everything. The same with --accept-stale takes that to legacy, too`;
}

function heldText({ scope, changed, latch, kept, audited, stale }: RolledBack): string {
  const all = stale.length === 0 ? 'everything' : `everything but ${stale.map(plain).join(', ')}`;
  const what = scope === '*' ? all : `route ${plain(scope)}`;
  const since = changed
    ? ''
    : ` already, since ${latch.at} (${plain(latch.by)}: ${plain(latch.reason)})`;
  const lines = [`${what} is held on ${paint('bold', 'legacy')}${since}`];
  const warn = (text: string) => lines.push(paint('yellow', `  warning: ${text}`));
  if (!kept) warn('the state folder could not be written, so a restart ends it; it is tried again');
  if (!audited) warn('it could not be put on record (cutover audit show)');
  return lines.join('\n');
}

function releasedText({ scope, changed, latch, held }: Released): string {
  const what = scope === '*' ? 'everything' : `route ${plain(scope)}`;
  const said = changed
    ? `${what}: flags decide again; what is open follows as onSwitch of their route says`
    : latch === null || latch.state === 'released'
      ? `${what} was not held, so nothing was changed`
      : `${what} was rolled back again meanwhile (${plain(latch.by)}: ${plain(latch.reason)})`;
  const lines = held.map(
    entry =>
      `  held on legacy: ${plain(entry.scope)}, since ${entry.at} (${plain(entry.by)}: ${plain(entry.reason)})`,
  );
  return [said, ...lines].join('\n');
}
