// What a running proxy can take over from a changed configuration.
import { CutoverError } from '../errors.ts';
import type { Environment } from './environment.ts';
import { type Loaded, loadConfig } from './load.ts';
import type { Config } from './schema.ts';

/** Fields behind open sockets, watches and the lock: only a new process can have others. */
const FIXED: readonly (readonly [field: string, of: (config: Config) => string | number])[] = [
  ['listen.host', config => config.listen.host],
  ['listen.port', config => config.listen.port],
  ['listen.tls', config => (config.listen.tls ? 'on' : 'off')],
  ['admin.host', config => config.admin.host],
  ['admin.port', config => config.admin.port],
  ['stateDir', config => config.stateDir],
  ...flagFields(),
  ['limits.maxHeaderBytes', config => config.limits.maxHeaderBytes],
];

/** Whatever says where flags are; contents of token files may change. */
function flagFields(): typeof FIXED {
  const names = ['provider', 'dir', 'url', 'tokenFile', 'appName', 'environment', 'project'];
  const more = ['pollMs', 'timeoutMs', 'maxBytes', 'backupDir', 'hookTokenFile', 'admin'];
  return [...names, ...more].map(name => [
    `flags.${name}`,
    ({ flags }) => {
      const value = new Map<string, unknown>(Object.entries(flags)).get(name);
      return typeof value === 'object' ? JSON.stringify(value) : String(value ?? 'none');
    },
  ]);
}

/** Changed fields that need a restart, as `listen.port (8080 -> 8090)`; empty: all can be applied. */
export function reloadable(current: Config, next: Config): readonly string[] {
  return FIXED.filter(([, of]) => of(current) !== of(next)).map(
    ([field, of]) => `${field} (${of(current)} -> ${of(next)})`,
  );
}

/**
 * Reads the file of `current` again. Throws `ConfigError`, or `CutoverError('conflict')` if fields
 * changed that need a restart; either way nothing of the new file may be used.
 */
export async function reloadConfig(current: Loaded, env: Environment): Promise<Loaded> {
  const next = await loadConfig(current.file, env);
  const fixed = reloadable(current.config, next.config);
  if (fixed.length > 0) {
    throw new CutoverError(
      'conflict',
      `the configuration stays as it was: only a restart can change ${fixed.join(', ')}`,
    );
  }
  return next;
}
