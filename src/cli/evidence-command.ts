// `cutover evidence`: what the comparison found, by kind, with examples that hold nothing personal.
import { Command, InvalidArgumentError } from 'commander';
import type {
  CountedUnits,
  EvidenceSummary,
  GroupExamples,
  GroupPage,
} from '../control/evidence/kept.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { type EvidenceOptions, filtered, filterOf, findingsOf } from './evidence-filter.ts';
import type { RejudgeOptions } from './evidence-rejudge.ts';
import { exampleText, groupsText, groupText, summaryText } from './evidence-text.ts';
import { print } from './output.ts';

const LIST_HELP = `
Every line is one kind of finding: events of a type that differ alike, at the same place. They stand by
route and type, of a type the most frequent first; cutover evidence show N has the examples.

Examples:
  cutover evidence list --verdict mismatch
  cutover evidence list --route events --path /data/results`;

const SUMMARY_HELP = `
A run or session diverges if any of its events does. The interval may be looked at at any time: over
all looks together it misses the true rate with a probability of at most 5 %. It holds for a beginning
that was fixed beforehand: after a new version of the candidate, count from then on, with --since.

Examples:
  cutover evidence summary --threshold 0.5%
  cutover evidence summary --since 2025-09-15T16:00:00Z`;

const EXPORT_HELP = `
Prints one finding a line, oldest first. What is personal or secret was replaced before it was kept:
{"$r": "email", "t": "string", "n": 17, "h": "..."} has class, type, length and keyed hash; equal
hashes were equal values.

Example:
  cutover evidence export --verdict mismatch > evidence.jsonl`;

const RESTART_HELP = `
With a new version of the candidate, or other rules or a profile of noise, what was counted before says
nothing any more, and yet it holds the guardrail that watches it. Kinds and examples stay as they are.

Example:
  cutover evidence restart --route api --reason "noise is excused now"`;

const REJUDGE_HELP = `
Reads \`compare\` of every route from a configuration, which need not be the one in force, and judges
the kept pairs by it: what would still differ, before you put it in force. A rule that needs a value
which was redacted says unjudged (redacted). What is missing, extra or doubled stays so: that is not
about what an event says.

Examples:
  cutover evidence rejudge cutover.new.yaml
  cutover evidence rejudge cutover.new.yaml --from evidence.jsonl`;

export function evidenceCommand(): Command {
  return new Command('evidence')
    .description('what the comparison found, by kind, with examples')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(summaryCommand())
    .addCommand(restartCommand())
    .addCommand(exportCommand())
    .addCommand(rejudgeCommand());
}

function listCommand(): Command {
  return filtered(remoteCommand('list'))
    .description('list the kinds of findings')
    .option('--limit <n>', 'at most so many', whole, 50)
    .addHelpText('after', LIST_HELP)
    .action(async (options: EvidenceOptions & { limit: number }) => {
      const admin = await connectAdmin(options);
      const query = { ...filterOf(options), limit: String(options.limit) };
      print(await admin.get<GroupPage>('/evidence', query), options.json ?? false, groupsText);
    });
}

function showCommand(): Command {
  return remoteCommand('show')
    .description('show one kind of findings, with its examples')
    .argument('<number>', 'the number that list shows', whole)
    .action(async (number: number, options: AdminPlace) => {
      const admin = await connectAdmin(options);
      const found = await admin.get<GroupExamples>(`/evidence/${number}`);
      print(found, options.json ?? false, ({ group, examples }) =>
        [groupText(group), ...examples.map(exampleText)].join('\n\n'),
      );
    });
}

function summaryCommand(): Command {
  return remoteCommand('summary')
    .description('tell how often runs or sessions diverge, and how well that is known')
    .option('--route <name>', 'of this route alone')
    .option(
      '--threshold <share>',
      'how many more clean ones until the rate is below it',
      share,
      0.001,
    )
    .option('--since <time>', 'count from then on, in full hours (ISO 8601)')
    .addHelpText('after', SUMMARY_HELP)
    .action(async (options: AdminPlace & { route?: string; threshold: number; since?: string }) => {
      const { route, since, threshold } = options;
      const admin = await connectAdmin(options);
      const query = { route, since, threshold: String(threshold) };
      const found = await admin.get<EvidenceSummary>('/evidence/summary', query);
      print(found, options.json ?? false, summaryText);
    });
}

function restartCommand(): Command {
  return remoteCommand('restart')
    .description('count anew how often runs or sessions diverge')
    .option('--route <name>', 'of this route alone')
    .requiredOption('--reason <text>', 'why, for the audit trail')
    .addHelpText('after', RESTART_HELP)
    .action(async (options: AdminPlace & { route?: string; reason: string }) => {
      const { route, reason, json = false } = options;
      const admin = await connectAdmin(options);
      const counted = await admin.post<CountedUnits>('/evidence/restart', { route, reason });
      print(counted, json, ({ units, diverged }) => {
        const before = `${units} runs and sessions were counted, of which ${diverged} diverged`;
        return `${route ?? 'every route'} is counted anew from here on; ${before}`;
      });
    });
}

function exportCommand(): Command {
  return filtered(remoteCommand('export'))
    .description('print the findings with their events, as JSON lines')
    .addHelpText('after', EXPORT_HELP)
    .action(async (options: EvidenceOptions) => {
      for await (const finding of findingsOf(await connectAdmin(options), options)) {
        process.stdout.write(`${JSON.stringify(finding)}\n`);
      }
    });
}

function rejudgeCommand(): Command {
  return filtered(remoteCommand('rejudge'))
    .description('tell what other rules would say of the findings that are kept')
    .argument('<configuration>', 'the file whose rules count')
    .option('--from <file>', 'what evidence export has written, instead of a running proxy')
    .addHelpText('after', REJUDGE_HELP)
    .action(async (file: string, options: RejudgeOptions) => {
      // Loaded here: all that comparing needs would make every command start more slowly.
      const { runRejudge } = await import('./evidence-rejudge.ts');
      await runRejudge(file, options);
    });
}

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

function share(text: string): number {
  const match = /^(\d{1,3}(?:\.\d{1,9})?)(%?)$/.exec(text);
  const number = Number(match?.[1]) / (match?.[2] === '%' ? 100 : 1);
  if (number > 0 && number < 1) return number;
  throw new InvalidArgumentError('It must be a share such as 0.1% or 0.001.');
}
