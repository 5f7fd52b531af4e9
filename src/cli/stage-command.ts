// `cutover stage`: where the migration stands, and moving it on or back.
import type { Command } from 'commander';
import type { RouteChange } from '../control/stage-change.ts';
import type { StageView } from '../control/stage-view.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure, NOT_UNDERSTOOD } from './failure.ts';
import { paint, plain, print, table } from './output.ts';

const HELP = `
Stages, in the order of a migration:
  off           legacy alone
  shadow [N%]   legacy serves; the candidate sees (N% of) the same traffic
  canary N%     the candidate serves N% of the users, legacy stands by
  live          the candidate serves everybody, legacy stands by
  complete      the candidate alone
  killed        throws the kill flag: legacy serves; a stage with --unkill, or --unkill alone, releases it

A user who is in at 10% is in at 20%. Open WebSockets and event streams follow as onSwitch of their
route says; new ones at once.
From complete on legacy misses what happens. Whatever takes users back there needs --accept-stale, and so does a
rollback, also in a later stage, until one of them has said so; until then nothing rolls back by itself.

Examples:
  cutover stage                              where every route stands
  cutover stage canary 12.5% --dry-run       whom would that move?
  cutover stage canary 12.5% --route events
  cutover stage killed                       everybody back to legacy`;

interface StageOptions extends AdminPlace {
  readonly route?: string;
  readonly unkill?: boolean;
  readonly acceptStale?: boolean;
  readonly dryRun?: boolean;
  readonly reason?: string;
}

export function stageCommand(): Command {
  return remoteCommand('stage')
    .description("show or set the migration's stage, in the flag files or in Unleash")
    .argument('[stage]', 'off, shadow, canary, live, complete or killed')
    .argument('[percent]', 'for canary and shadow, such as 12.5%')
    .option('--route <name>', 'this route alone (default: all)')
    .option('--unkill', 'release the kill flag')
    .option('--accept-stale', 'after stage complete: legacy has missed what happened, and will do')
    .option('--dry-run', 'tell what would happen, and change nothing')
    .option('--reason <text>', 'why, for the audit trail')
    .addHelpText('after', HELP)
    .action(runStage);
}

async function runStage(
  stage: string | undefined,
  percent: string | undefined,
  options: StageOptions,
): Promise<void> {
  const { route, unkill, acceptStale, dryRun, reason, json = false } = options;
  const share = percent === undefined ? undefined : percentOf(percent);
  const admin = await connectAdmin(options);
  if (stage === undefined && !unkill) {
    if (dryRun) throw new CommandFailure(NOT_UNDERSTOOD, '--dry-run goes with a stage');
    print(await admin.get<Stages>('/stage', { route }), json, stagesText);
    return;
  }
  const body = { route, stage, percent: share, unkill, acceptStale, dryRun, reason };
  print(await admin.post<{ routes: RouteChange[] }>('/stage', body), json, changesText);
}

interface Stages {
  readonly revision: string;
  readonly routes: readonly { route: string; stage: StageView }[];
}

/** `12.5%` or `12.5`. */
function percentOf(text: string): number {
  if (/^\d{1,3}(\.\d{1,6})?%?$/.test(text)) return Number.parseFloat(text);
  const message = `${JSON.stringify(text)} is no percentage; write it as 12.5% or 12.5`;
  throw new CommandFailure(1, message);
}

function stagesText({ routes, revision }: Stages): string {
  const rows = routes.map(({ route, stage }) => [
    route,
    stageText(stage),
    percentText(stage.kill ? 0 : stage.servePercent),
    percentText(stage.shadowPercent),
  ]);
  return `${table(['route', 'stage', 'candidate', 'shadow'], rows)}\n\nflags ${revision}`;
}

function changesText({ routes }: { routes: readonly RouteChange[] }): string {
  return routes.map(changeText).join('\n');
}

/** `same`: the stage is the one of before. */
function writtenText({ files, dryRun }: RouteChange, same: boolean): string {
  if (files.length > 0) return `${dryRun ? 'would write' : 'wrote'} ${files.join(', ')}`;
  return same ? 'no flag needed a change' : 'its flags were written with those of another route';
}

function changeText(change: RouteChange): string {
  const { route, before, after, moves, revision, pinned, problems, warnings, dryRun } = change;
  const same = before.text === after.text;
  const what = same ? `${stageText(after)} already` : `${before.text} -> ${stageText(after)}`;
  const open = `${moves.openSessions} open session${moves.openSessions === 1 ? '' : 's'}`;
  const lines = [
    `${route}: ${what}${dryRun ? ' (dry run: nothing was changed)' : ''}`,
    `  candidate serves ${percentText(moves.shareBefore)} -> ${percentText(moves.shareAfter)} of the users`,
    `  ${open}, of which ${moves.wouldMoveToCandidate} would move to candidate, ${moves.wouldMoveToLegacy} to legacy: ${moves.note}`,
    `  ${writtenText(change, same)}; flags ${revision}`,
  ];
  for (const warning of warnings) lines.push(paint('yellow', plain(`  warning: ${warning}`)));
  if (pinned.length > 0) lines.push(`  single users are pinned by ${pinned.join(', ')}`);
  for (const { flag, message } of problems) {
    lines.push(paint('yellow', `  warning: ${flag ?? 'flags'}: ${message}`));
  }
  return lines.join('\n');
}

function stageText({ text, name }: StageView): string {
  return name === 'killed' || name === 'mixed' ? paint('red', text) : paint('bold', text);
}

function percentText(percent: number | null): string {
  return percent === null ? 'mixed' : `${percent}%`;
}
