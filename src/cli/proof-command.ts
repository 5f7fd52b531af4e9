// `cutover proof`: what a rollback did, and when.
import type { Command } from 'commander';
import type { Proof } from '../control/proofs.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure, NOT_UNDERSTOOD } from './failure.ts';
import { paint, print } from './output.ts';
import { proofText } from './proof-text.ts';

const HELP = `
Kept in state/proofs.jsonl, in the form of the audit trail (cutover audit verify --file).

Examples:
  cutover proof            the last rollback
  cutover proof 12
  cutover proof --all`;

interface Listing {
  readonly unkept: number;
  /** Why none are here that only the file has; null where that was read. Absent from an older proxy. */
  readonly unread?: string | null;
  readonly proofs: readonly Proof[];
}

export function proofCommand(): Command {
  return remoteCommand('proof')
    .description('show what a rollback did, and when')
    .argument('[id]', 'its number (default: the last one)')
    .option('--all', 'the last 20')
    .addHelpText('after', HELP)
    .action(async (id: string | undefined, options: AdminPlace & { all?: boolean }) => {
      const { all = false, json = false } = options;
      if (id !== undefined && all)
        throw new CommandFailure(NOT_UNDERSTOOD, 'either a number or --all');
      const admin = await connectAdmin(options);
      if (id !== undefined) {
        print(await admin.get<Proof>(`/proofs/${encodeURIComponent(id)}`), json, proofText);
        return;
      }
      print(await admin.get<Listing>('/proofs', { limit: all ? '20' : '1' }), json, listText);
    });
}

function listText({ proofs, unkept, unread = null }: Listing): string {
  const nothing = `no rollback ${unread === null ? 'yet' : 'by this process'}`;
  const texts = proofs.length === 0 ? [nothing] : proofs.map(proofText);
  if (unread !== null) texts.push(paint('yellow', `warning: older ones are left out: ${unread}`));
  if (unkept > 0) texts.push(paint('yellow', `warning: proofs that could not be kept: ${unkept}`));
  return texts.join('\n\n');
}
