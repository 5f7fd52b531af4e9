// The configuration as a command reads it for itself: to find the proxy, its flags and its routes.
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Place, parseConfig, parsePlace } from '../config/load.ts';
import { readNoiseFile } from '../config/noise-file.ts';
import { ConfigError } from '../config/problem.ts';
import type { Config, RouteConfig } from '../config/schema.ts';
import type { NoiseProfile } from '../rules/compare/noise.ts';
import { CommandFailure } from './failure.ts';

export const DEFAULT_CONFIG = 'cutover.yaml';

/** Reads a configuration that somebody named. Throws `CommandFailure` or `ConfigError`. */
export async function readConfig(file: string): Promise<Config> {
  const text = await readText(file, 'name the configuration with --config');
  return parseConfig(text, file, process.env);
}

/**
 * Where the proxy is that runs with it. A file that a running proxy has refused keeps nobody from telling that proxy to
 * roll back: what is wrong elsewhere in it is said on stderr and no more. Throws `CommandFailure`.
 */
export async function readPlace(file: string): Promise<Place> {
  const text = await readText(
    file,
    'name the configuration with --config, or the proxy itself with --admin and --token-file',
  );
  try {
    return parseConfig(text, file, process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const place = parsePlace(text, file, process.env);
    const { host, port } = place.admin;
    process.stderr.write(
      `${file} has mistakes (cutover config check); of it only where the proxy is counts here: ${host}:${port}, ${place.stateDir}\n`,
    );
    return place;
  }
}

async function readText(file: string, remedy: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const why = missing ? 'there is no such file' : 'it can not be read';
    throw new CommandFailure(2, `${file}: ${why}; ${remedy}`, error);
  }
}

/** The noise profile of a route of the configuration in `file`. Throws `CommandFailure` or `ConfigError`. */
export async function readProfile(route: RouteConfig, file: string): Promise<NoiseProfile | null> {
  if (route.noise === undefined) return null;
  const found = await readNoiseFile(route.noise, dirname(file), route);
  if (typeof found === 'string') {
    throw new CommandFailure(1, `${file}: noise of route ${route.name} ${found}`);
  }
  if ('problems' in found) throw new ConfigError(found.problems);
  return found.profile;
}

/** As `readConfig`; without a name the default file, and null if that is not there. */
export async function readConfigIfThere(file: string | undefined): Promise<Config | null> {
  if (file !== undefined) return readConfig(file);
  try {
    return await readConfig(DEFAULT_CONFIG);
  } catch (error) {
    if (error instanceof CommandFailure) return null;
    throw error;
  }
}
