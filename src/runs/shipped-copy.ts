// The package's own example configuration, flags and all, in a folder of its own.
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Loaded, loadConfig } from '../config/load.ts';
import { stageEdits } from '../rules/flag-stage.ts';
import { stageTarget } from '../rules/stage.ts';

const SHIPPED = path.join(import.meta.dirname, '../..');
/** The three routes of the example share these. */
const NAMES = {
  ...{ route: 'events', serve: 'events.serve', shadow: 'events.shadow' },
  ...{ kill: 'events.kill', isolation: 'events.isolation' },
};

export interface ShippedCopy {
  readonly folder: string;
  readonly loaded: Loaded;
  /** It is read with this. */
  readonly env: NodeJS.ProcessEnv;
  remove(): Promise<void>;
}

/** On free ports, with the flags as shipped or in that stage. `env` fills in the example's variables. */
export async function shippedCopy(env: NodeJS.ProcessEnv, stage?: 'shadow'): Promise<ShippedCopy> {
  const folder = await mkdtemp(path.join(tmpdir(), 'cutover-run-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const file = path.join(folder, 'cutover.yaml');
    await cp(path.join(SHIPPED, 'cutover.yaml'), file);
    await cp(path.join(SHIPPED, 'flags'), path.join(folder, 'flags'), { recursive: true });
    if (stage !== undefined) {
      const features = stageEdits(() => undefined, NAMES, stageTarget(stage));
      const text = JSON.stringify({ version: 2, features });
      await writeFile(path.join(folder, 'flags/events.json'), text);
    }
    const filled = { ...env, CUTOVER_PORT: '0', CUTOVER_ADMIN_PORT: '0' };
    return { folder, loaded: await loadConfig(file, filled), env: filled, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
