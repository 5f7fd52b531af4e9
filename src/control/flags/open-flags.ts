// The flag provider that a configuration asks for.
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Loaded } from '../../config/load.ts';
import { type FlagProvider, openFileFlags, openUnleashFlags } from './provider.ts';
import { UnleashAdmin } from './unleash-admin.ts';

/** In the state folder, unless `flags.backupDir` names another. */
const BACKUP_FILE = 'flags.backup';

/**
 * Opens it. `loaded` is asked again and again: routes and tokens may change while we run. A folder that
 * is not there and an Unleash server that is down are no errors.
 */
export async function openFlags(loaded: () => Loaded, logger: Logger): Promise<FlagProvider> {
  const { flags, stateDir } = loaded().config;
  const routes = () => loaded().config.routes;
  if (flags.provider === 'file') return openFileFlags({ dir: flags.dir, routes, logger });
  const { url, timeoutMs, admin, backupDir = stateDir } = flags;
  const adminToken = () => loaded().secrets.unleash?.admin ?? '';
  return openUnleashFlags({
    ...flags,
    token: () => loaded().secrets.unleash?.client ?? '',
    backupFile: join(backupDir, BACKUP_FILE),
    admin:
      admin === undefined
        ? null
        : new UnleashAdmin({ ...admin, url, timeoutMs, token: adminToken }),
    routes,
    logger,
  });
}
