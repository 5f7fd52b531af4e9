// `cutover evidence` against a running proxy's admin API, as an operator types it.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { cutover } from '../support/command.ts';
import { differs, feeder, finding, KEY } from '../support/evidence.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';

const LENIENT = '{ allow: [{ path: /at, as: time, withinMs: 2000 }] }';
const [ESC] = '\u001b';
let op: Operated;
let admin: Admin;
let env: Record<string, string>;

beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'shadow') });
  admin = createAdmin({ ...op, token: TOKEN });
  const { port } = await admin.listen();
  const tokenFile = path.join(op.dir, 'admin.token');
  await writeFile(tokenFile, TOKEN);
  env = { CUTOVER_ADMIN: `http://127.0.0.1:${port}`, CUTOVER_TOKEN_FILE: tokenFile };
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const run = (...words: string[]) => cutover(['evidence', ...words], { env, cwd: op.dir });

/** Three runs, two of which differ: in a time that is not excused, in a user's text. */
async function keepSome(): Promise<void> {
  op.evidence.keepIn(op.dir, KEY);
  const feed = feeder(op.evidence);
  const event = { type: 'note', user_id: 'user_1001', text: 'to a@b.example', at: 1_757_953_203.4 };
  const late = { ...event, at: 1_757_953_204.4 };
  const other = { ...event, text: 'to c@d.example', more: `${ESC}[2J` };
  const common = { eventType: 'note', legacy: event };
  await feed.keep(
    finding({
      ...common,
      unit: 'run 1',
      candidate: late,
      differences: [differs('/at', event.at, late.at)],
    }),
    finding({
      ...common,
      unit: 'run 2',
      candidate: other,
      differences: [differs('/text', event.text, other.text)],
    }),
    finding({ ...common, unit: 'run 3', candidate: event, verdict: 'match', differences: [] }),
    finding({
      ...common,
      unit: 'run 3',
      candidate: null,
      verdict: 'missing',
      differences: [],
      sides: ['legacy'],
    }),
  );
  await feed.endUnits();
}

describe('what is kept', () => {
  beforeEach(keepSome);

  test('list shows kinds', async () => {
    const listed = await run('list', '--verdict', 'mismatch');
    expect(listed).toMatchObject({ code: 0, stderr: '' });
    expect(listed.stdout).toMatch(/^nr {2}route +type +verdict +where +found +kept +last\n/);
    expect(listed.stdout).toMatch(/^1 +events +note +mismatch +value \/at +1 +1 +\d+ s ago$/m);
  });

  test('show has the examples of a kind, and nothing personal', async () => {
    const shown = await run('show', '2');
    expect(shown.stdout).toMatch(
      /^mismatch in note of events: value \/text\nfound 1 times from 20/,
    );
    expect(shown.stdout).toMatch(/^differs +\/text value: legacy "to <email [0-9a-f]{16}>", cand/m);
    expect(shown.stdout).toMatch(/^legacy +\{"type":"note","user_id":"<user [0-9a-f]{8}, 9>"/m);
    for (const raw of ['user_1001', 'example', ESC]) expect(shown.stdout).not.toContain(raw);
  });

  test('list --json is for programs', async () => {
    const json = JSON.parse((await run('list', '--json')).stdout);
    expect(json).toMatchObject({ total: 4, groups: [{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }] });
  });

  test('summary tells rate, interval and what is left', async () => {
    const { stdout, code } = await run('summary', '--threshold', '1%');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^events {2}\(all\) +3 of 3 runs +100 % +[\d.]+ % to 100 % +\d+ more clean +match 1, mismatch 2, missing 1$/m,
    );
    expect(stdout).toMatch(
      /runs and sessions \(a request is one\) that ended in all that is kept\n$/,
    );
  });

  test('restart counts anew', async () => {
    const ran = await run('restart', '--route', 'events', '--reason', 'mended');
    expect(ran).toMatchObject({
      ...{ code: 0, stderr: '' },
      stdout:
        'events is counted anew from here on; 3 runs and sessions were counted, of which 3 diverged\n',
    });
    // The fault: a period was named that had not been counted.
    const { stdout } = await run('summary', '--since', '2025-01-01T00:00:00Z');
    expect(stdout).toMatch(
      /^no run or session has ended since 2025-01-01T00:00:00.000Z, so nothing is known\nevents was counted anew from 20\S+Z on \(evidence restart\), .*\nwhat is under way is counted once nothing of it has come for a minute\n$/,
    );
    expect((await run('summary', '--since', '2999-01-01T00:00:00Z')).stdout).not.toContain('anew');
    await run('restart', '--reason', 'all');
    expect((await run('summary', '--route', 'events')).stdout).toMatch(
      /\nevery route was counted anew from 20\S+Z on [^\n]*\nwhat is under way/,
    );
  });

  test('export prints JSON lines, which rejudge takes', async () => {
    const { stdout } = await run('export');
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map(line => JSON.parse(line).id)).toEqual([1, 2, 3, 4]);
    await writeFile(path.join(op.dir, 'evidence.jsonl'), stdout);
    await writeFile(path.join(op.dir, 'new.yaml'), configuration(LENIENT));
    const judged = await run('rejudge', 'new.yaml', '--from', 'evidence.jsonl');
    expect(judged).toMatchObject({ code: 0, stderr: '' });
    expect(judged.stdout).toMatch(/^events +note +mismatch +match +1$/m);
    expect(judged.stdout).toMatch(/^events +note +mismatch +the same +1$/m);
    expect(judged.stdout).toMatch(/^events +note +match +the same +1$/m);
    expect(judged.stdout).toMatch(/^events +note +value \/text +1$/m);
    expect(judged.stdout).toContain('3 kept pairs judged again, 1 findings are about something');
  });

  // The fault: what of a file is meant was asked, and all of it was judged.
  test.each([
    [['--route', 'api'], 1],
    [['--type', 'item.*'], 1],
    [['--verdict', 'match'], 1],
    [['--path', '/items/*'], 1],
    [['--path', '/items/*/pri'], 0],
  ])('rejudge of a file heeds %j, as list does', async (words, judged) => {
    const { stdout } = await run('export');
    const [first = ''] = stdout.split('\n');
    const price = { ...differs('/items/3/price', 1, 2) };
    const [legacy, candidate] = [1, 2].map(last => ({
      items: [0, 0, 0, last].map(price => ({ price })),
    }));
    const other = {
      ...{ ...JSON.parse(first), route: 'api', eventType: 'item.10001', legacy, candidate },
      differences: [price],
    };
    await writeFile(path.join(op.dir, 'evidence.jsonl'), `${stdout}${JSON.stringify(other)}\n`);
    const routes = configuration(LENIENT, 'events', 'api');
    await writeFile(path.join(op.dir, 'new.yaml'), routes);
    const ran = await run('rejudge', 'new.yaml', '--from', 'evidence.jsonl', '--json', ...words);
    expect(JSON.parse(ran.stdout)).toMatchObject({ judged, unknownRoutes: [] });
  });

  // The fault: a misspelt name was answered by a table without rows.
  test('rejudge says so where nothing that is kept is meant', async () => {
    await writeFile(path.join(op.dir, 'new.yaml'), configuration(LENIENT));
    const ran = await run('rejudge', 'new.yaml', '--type', 'nosuch');
    expect(ran).toMatchObject({ code: 0, stderr: '' });
    expect(ran.stdout).toBe('nothing that is kept is of that kind (cutover evidence list)\n');
  });

  test('rejudge asks the running proxy', async () => {
    await writeFile(path.join(op.dir, 'new.yaml'), configuration(LENIENT));
    const json = JSON.parse((await run('rejudge', 'new.yaml', '--json')).stdout);
    expect(json).toMatchObject({ judged: 3, untouched: 1, differing: [{ path: '/text' }, {}] });
  });
});

describe('mistakes are told in a sentence', () => {
  test.each([
    [['show', 'x'], 64, /It must be a whole number/],
    [['list', '--verdict', 'wrong'], 64, /Allowed choices are match, noise/],
    [['summary', '--threshold', '2'], 64, /It must be a share such as 0\.1% or 0\.001/],
    [['list'], 1, /^evidence can not be read: its thread does not run\n$/],
    [['rejudge', 'nowhere.yaml'], 2, /^nowhere\.yaml: there is no such file/],
  ])('%j ends with %i', async (words, code, stderr) => {
    const ran = await run(...words);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(stderr);
  });

  test('a line that is none, a rule that may not be', async () => {
    await writeFile(path.join(op.dir, 'good.yaml'), configuration('{}'));
    await writeFile(path.join(op.dir, 'lines'), '\n{"route": "events"}\n');
    const lines = await run('rejudge', 'good.yaml', '--from', 'lines');
    expect(lines).toMatchObject({ code: 1, stdout: '' });
    expect(lines.stderr).toBe('lines:2: this is no line that cutover evidence export writes\n');
    await writeFile(
      path.join(op.dir, 'bad.yaml'),
      configuration('{ allow: [{ path: /user_id, as: anything }] }'),
    );
    const rules = await run('rejudge', 'bad.yaml', '--from', 'lines');
    expect(rules.code).toBe(1);
    expect(rules.stderr).toMatch(
      /^bad\.yaml:\d+:\d+ routes\[0\]\.compare\.allow\[0\]\.path: names a user/,
    );
  });
});

function configuration(compare: string, ...names: readonly string[]): string {
  const routes = (names.length > 0 ? names : ['events']).map(
    name => `{ name: ${name}, path: /${name}, protocol: websocket, compare: ${compare} }`,
  );
  return `upstreams: { legacy: { url: 'http://127.0.0.1:1' }, candidate: { url: 'http://127.0.0.1:2' } }
listen: {}
routes: [${routes.join(', ')}]
`;
}
