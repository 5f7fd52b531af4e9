// `cutover bypass`: everything new straight to legacy, and back.
import type { Command } from 'commander';
import type { BypassChange, BypassView } from '../control/bypass-change.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure, NOT_UNDERSTOOD } from './failure.ts';
import { duration, paint, plain, print } from './output.ts';

const HELP = `
While it is on, requests and new connections go straight to legacy by a lane of their own, whatever
flags say: neither flagged nor compared. What is open stays where it is, unless --close-open ends it
(WebSockets with 1012, event streams behind an event; spread over limits.drainMs), so that it comes back
through the bypass. Until then writes reach the candidate as well. It survives a restart. What came in
through it stays on legacy until it ends.

Examples:
  cutover bypass                                             is it on, and why?
  cutover bypass on --reason "events lost, incident 4711"
  cutover bypass on --reason "candidate leaks" --close-open
  cutover bypass off --reason "fixed in 1.4.2"`;

interface BypassOptions extends AdminPlace {
  readonly reason?: string;
  readonly closeOpen?: boolean;
}

export function bypassCommand(): Command {
  return remoteCommand('bypass')
    .description('show, engage or end the bypass, which sends everything straight to legacy')
    .argument('[state]', 'on or off')
    .option('--reason <text>', 'why, for the log and for whoever asks later')
    .option('--close-open', 'with on: end what is open, at a pace')
    .addHelpText('after', HELP)
    .action(runBypass);
}

async function runBypass(state: string | undefined, options: BypassOptions): Promise<void> {
  const { reason, closeOpen, json = false } = options;
  if (state === undefined) {
    if (reason !== undefined || closeOpen) {
      throw new CommandFailure(NOT_UNDERSTOOD, '--reason and --close-open go with on or off');
    }
    const admin = await connectAdmin(options);
    return print(await admin.get<BypassView>('/bypass'), json, viewText);
  }
  if (reason === undefined) throw new CommandFailure(NOT_UNDERSTOOD, 'say why: --reason "…"');
  const admin = await connectAdmin(options);
  const body = { state, reason, closeOpen };
  print(await admin.post<BypassChange>('/bypass', body), json, changeText);
}

function viewText(view: BypassView): string {
  return viewLines(view, '').join('\n');
}

/** `already`: said behind on or off. */
function viewLines({ engaged, kept, open, note }: BypassView, already: string): string[] {
  if (engaged === null) return [`bypass: off${already}; ${note}`, ...openText(open, false)];
  const lines = [
    `bypass: ${paint('red', 'on')}${already} since ${engaged.at}: ${plain(engaged.reason)}`,
    `  ${note}`,
    ...openText(open, true),
  ];
  if (!kept) lines.push(unkeptText());
  return lines;
}

function changeText(change: BypassChange): string {
  const { engaged, changed, ending } = change;
  const lines = viewLines(change, changed ? '' : ' already');
  if (engaged !== null && ending !== null) {
    lines.push(
      `  --close-open: what is open is being ended over ${duration(ending.overMs / 1_000)}, WebSockets with 1012: ${ending.count}`,
    );
  }
  return lines.join('\n');
}

function openText({ bypass, legacy, candidate }: BypassView['open'], on: boolean): string[] {
  if (!on && bypass === 0) return [];
  const through = `${bypass} open through it, on legacy${on ? '' : ' until they end'}`;
  const older = `${legacy} on legacy and ${candidate} on candidate that are older`;
  return [`  ${on ? `${through}; ${older}` : through}`];
}

function unkeptText(): string {
  const what = 'the state folder could not be written, so a restart ends the bypass';
  return paint('yellow', `  warning: ${what}`);
}
