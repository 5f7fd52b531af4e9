// Which findings a command is about, and how it gets them from a running proxy.
import { type Command, Option } from 'commander';
import type { FindingPage, KeptFinding } from '../control/evidence/kept.ts';
import { VERDICTS } from '../rules/verdict.ts';
import type { AdminClient, AdminPlace } from './admin-client.ts';

/** The largest page that the proxy gives. */
const PAGE = 100;

export interface EvidenceOptions extends AdminPlace {
  readonly route?: string;
  readonly type?: string;
  readonly verdict?: string;
  readonly path?: string;
}

/** The command with the options that narrow down what it is about. */
export function filtered(command: Command): Command {
  const verdict = new Option('--verdict <verdict>', 'with this verdict alone');
  return command
    .option('--route <name>', 'of this route alone')
    .option('--type <type>', 'of this event type alone')
    .addOption(verdict.choices(Object.keys(VERDICTS)))
    .option('--path <pointer>', 'differing at this place or below it (JSON pointer)');
}

export function filterOf({ route, type, verdict, path }: EvidenceOptions) {
  return { route, type, verdict, path };
}

/** All that are kept, page by page. */
export async function* findingsOf(
  admin: AdminClient,
  options: EvidenceOptions,
): AsyncGenerator<KeptFinding> {
  let after: number | null = 0;
  while (after !== null) {
    const query = { ...filterOf(options), limit: String(PAGE), after: String(after) };
    const page: FindingPage = await admin.get<FindingPage>('/evidence/findings', query);
    yield* page.findings;
    after = page.after;
  }
}
