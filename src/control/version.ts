// The version of this program, as its package names it.
import { readFileSync } from 'node:fs';
import { z } from 'zod';

// Two levels up from src/control as well as from dist/control.
const PACKAGE = new URL('../../package.json', import.meta.url);

export const VERSION: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(PACKAGE, 'utf8'))).version;
