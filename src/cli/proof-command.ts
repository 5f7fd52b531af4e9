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

function listText({ proofs, unkept }: Listing): string {
  const texts = proofs.length === 0 ? ['no rollback yet'] : proofs.map(proofText);
  if (unkept > 0) texts.push(paint('yellow', `warning: proofs that could not be kept: ${unkept}`));
  return texts.join('\n\n');
}
