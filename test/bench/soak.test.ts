// Row 71, in short: the soak itself, with all of its clients and its operator, for the seconds that a test has. Whether the
// proxy grows only minutes can tell (`npm run soak`); what is left behind shows at once.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';

const SOAK = path.join(import.meta.dirname, '../../bench/soak/main.ts');
/** Enough for several visits of each kind. */
const MINUTES = '0.05';

test('71: clients of every kind get what is theirs, and leave no socket, handle or timer behind', {
  timeout: 150_000,
}, () => {
  const { stdout, stderr } = spawnSync(process.execPath, [SOAK, '--minutes', MINUTES], {
    encoding: 'utf8',
    timeout: 140_000,
  });
  const problems = stdout.split('\n').filter(line => line.startsWith('! '));
  expect(problems, stdout + stderr).toEqual([
    expect.stringMatching(/^! there are \d samples, too few to tell$/),
  ]);
  for (const kind of ['churn', 'resets', 'bypass', 'stage changes', 'rollbacks'])
    expect(stdout).toMatch(new RegExp(`^${kind} +[1-9]\\d* visits +0 failed$`, 'm'));
  expect(stdout).toMatch(/^held after +\{"sockets":\d+,/m);
});
