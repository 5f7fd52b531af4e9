// `cutover audit`: who changed what, when and why, and whether the trail is whole.
import { access } from 'node:fs/promises';
import { Command } from 'commander';
import type { AuditEntry } from '../control/audit.ts';
import { type Verified, verifyJournal } from '../control/journal.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure } from './failure.ts';
import { paint, plain, print, table } from './output.ts';

const HELP = `
Every change is a line of state/audit.jsonl with the SHA-256 hash of the line before it. verify says
where that chain breaks first, and ends with 1 if it does. A file that somebody made anew as a whole
shows only by its head, the hash of its last line: keep it elsewhere.

Examples:
  cutover audit show --limit 50
  cutover audit verify
  cutover audit verify --file copy-of-audit.jsonl     without a proxy`;

interface Shown {
  readonly trouble: { readonly message: string; readonly since: string } | null;
  /** What was done and could not be put on record, since the start. */
  readonly unkept: number;
  readonly entries: readonly AuditEntry[];
}

export function auditCommand(): Command {
  return new Command('audit')
    .description('show or verify the trail of who changed what, when and why')
    .addHelpText('after', HELP)
    .addCommand(
      remoteCommand('show')
        .description('list the last changes, newest first')
        .option('--limit <n>', 'how many, 1000 at most (default: 20)')
        .action(async (options: AdminPlace & { limit?: string }) => {
          const { limit, json = false } = options;
          const admin = await connectAdmin(options);
          print(await admin.get<Shown>('/audit', { limit }), json, shownText);
        }),
    )
    .addCommand(
      remoteCommand('verify')
        .description('check the chain of hashes')
        .option('--file <file>', 'of this file, and ask no proxy')
        .action(runVerify),
    );
}

async function runVerify(options: AdminPlace & { file?: string }): Promise<void> {
  const { file, json = false } = options;
  const verified =
    file === undefined
      ? await (await connectAdmin(options)).get<Verified>('/audit/verify')
      : await verifyFile(file);
  print(verified, json, verifiedText);
  if (verified.fault !== null) {
    throw new CommandFailure(1, `line ${verified.fault.line}: ${verified.fault.why}`);
  }
}

async function verifyFile(file: string): Promise<Verified> {
  try {
    await access(file);
    return await verifyJournal(file);
  } catch (error) {
    throw new CommandFailure(2, `${file} can not be read`, error);
  }
}

function shownText({ entries, trouble, unkept }: Shown): string {
  const head = ['seq', 'at', 'by', 'action', 'reason', 'details'];
  const lines = [entries.length === 0 ? 'nothing on record' : table(head, entries.map(entryRow))];
  if (trouble !== null) {
    lines.push('', paint('red', `nothing is kept since ${trouble.since}: ${trouble.message}`));
  }
  if (unkept > 0) lines.push(paint('yellow', `done and not on record: ${unkept}`));
  return lines.join('\n');
}

function entryRow({ seq, at, by, action, reason, details }: AuditEntry): string[] {
  return [String(seq), at, by, action, reason ?? '-', JSON.stringify(details)].map(plain);
}

function verifiedText({ entries, head, fault }: Verified): string {
  const whole = fault === null ? 'the chain is whole' : 'the chain is broken';
  return `${whole}: ${entries} record${entries === 1 ? '' : 's'}, head ${head}`;
}
