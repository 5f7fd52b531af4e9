// A change that a command makes by itself, put on record before: by the proxy that holds the state folder,
// or in the folder itself where no proxy runs.
import type { Config } from '../config/schema.ts';
import { callerName, connectAdmin } from './admin-client.ts';
import { CommandFailure } from './failure.ts';

export interface OwnChange {
  readonly action: 'flags-push';
  readonly reason?: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Throws `CommandFailure` or `CutoverError` if it can not be put on record; it must not be made then. */
export async function putOnRecord(
  change: OwnChange,
  config: Config,
  place: { readonly config?: string },
): Promise<void> {
  try {
    const admin = await connectAdmin(place);
    await admin.post('/audit', change);
  } catch (error) {
    // Somebody answered, and refused.
    if (!(error instanceof CommandFailure) || error.exitCode !== 2) throw error;
    await recordAlone(change, config.stateDir);
  }
}

async function recordAlone(change: OwnChange, dir: string): Promise<void> {
  const { action, reason, details } = change;
  const [{ pino }, { openStateDir }, { Audit }] = await Promise.all([
    import('pino'),
    import('../control/state-dir.ts'),
    import('../control/audit.ts'),
  ]);
  const name = callerName();
  const by = name === null ? 'operator' : `operator ${name}`;
  const held = await openStateDir(dir);
  try {
    const audit = new Audit(pino({ level: 'silent' }));
    await audit.keepIn(held.path);
    await audit.record({ by, action, reason: reason ?? null, details });
  } finally {
    await held.release();
  }
}
