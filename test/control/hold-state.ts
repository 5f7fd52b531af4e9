// Holds a state folder until it is told to let go, or is killed; for tests that need a process.
import { openStateDir } from '../../src/control/state-dir.ts';

const [dir = ''] = process.argv.slice(2);
try {
  const state = await openStateDir(dir);
  process.once('SIGTERM', () => {
    state.release().then(() => process.exit(0));
  });
  process.stdout.write('held\n');
  // Keeps the process alive without doing anything.
  setInterval(() => undefined, 60_000);
} catch (error) {
  const { code, message } = error as { code?: string; message?: string };
  process.stdout.write(`${code}: ${message}\n`);
  process.exitCode = 1;
}
