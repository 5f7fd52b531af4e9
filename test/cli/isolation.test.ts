import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cutover } from '../support/command.ts';

const CONFIG = `upstreams:
  legacy: { url: 'http://127.0.0.1:9001' }
  candidate: { url: 'http://127.0.0.1:9002' }
listen: {}
routes:
  - name: events
    path: /ws
    protocol: websocket
    isolation: { provenance: { receipt: [recipient_id] }, everyone: [notice] }
  - name: sse
    path: /sse
    protocol: sse
    isolation: { provenance: { receipt: [recipient_id] } }
`;

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'cutover-isolation-'));
  await put('cutover.yaml', CONFIG);
});
afterAll(() => rm(dir, { recursive: true }));

const put = (file: string, text: string | Buffer) => writeFile(path.join(dir, file), text);
const explain = async (event: string | Buffer, ...words: string[]) => {
  await put('event.json', event);
  return cutover(['isolation', 'explain', 'event.json', '--user', 'ann', ...words], { cwd: dir });
};

test('a foreign address is told with its place, and ends with 1', async () => {
  const ran = await explain('{"type":"x","thread_id":"t","data":{"target\\u005fuser_id":"bob"}}');
  expect(ran.code).toBe(1);
  expect(ran.stdout).toContain('x: contaminated (it has to be parsed)');
  expect(ran.stdout).toMatch(
    /routing\s+\/data\/target_user_id\s+contaminated\s+names somebody else/,
  );
  expect(ran.stdout).toMatch(/ledger\s+\/thread_id\s+open\s+contaminated if legacy gave/);
  expect(ran.stdout).not.toContain('bob');
});

test('of a batch, and behind a byte order mark, it is told as of one event', async () => {
  const batch =
    '[{"type":"x","text":"hello to all","data":{"thread_id":"t"}},{"type":"notice"},{"text":"a row"}]';
  const ran = await explain(`\uFEFF${batch}`, '--json');
  expect(ran.code).toBe(0);
  expect(JSON.parse(ran.stdout).rules).toMatchObject([
    { rule: 'routing', says: 'clean' },
    { rule: 'ledger', path: '/thread_id', says: 'open' },
    { rule: 'fingerprint', says: 'open' },
    { rule: 'fingerprint', says: 'clean', why: expect.stringContaining('for everybody') },
    { rule: 'fingerprint', says: 'clean', why: expect.stringContaining('rows') },
    { rule: 'marker', says: 'clean' },
  ]);
});

test('what is declared as provenance, an alias, and a type for everybody are told as such', async () => {
  const receipt = await explain('{"type":"receipt","recipient_id":"bob"}', '--json');
  expect(receipt.code).toBe(0);
  expect(JSON.parse(receipt.stdout)).toMatchObject({
    ...{ eventType: 'receipt', scan: 'parse', says: 'clean' },
    rules: [
      { rule: 'routing', path: '/recipient_id', says: 'clean' },
      {
        rule: 'ledger',
        path: '',
        says: 'clean',
        why: expect.stringMatching(/^none of \/thread_id, /),
      },
      { rule: 'fingerprint', says: 'clean', why: expect.stringContaining('12 characters') },
      { rule: 'marker', says: 'clean' },
    ],
  });
  const notice = await explain('{"type":"notice","userId":"a@b.c"}', '--alias', 'a@b.c', '--json');
  expect(JSON.parse(notice.stdout)).toMatchObject({
    ...{ scan: 'clean', says: 'clean' },
    rules: [
      { says: 'clean', why: 'names the user' },
      { rule: 'ledger', says: 'clean' },
      { rule: 'fingerprint', says: 'clean' },
      {},
    ],
  });
});

// The fault: a receipt whose type only the stream names was contaminated, which the lane passes.
test('the type that a stream or an answer gives an event can be told', async () => {
  const receipt = '{"recipient_id":"bob"}';
  const named = await explain(receipt, '--route', 'sse', '--type', 'receipt');
  expect(named).toMatchObject({ code: 0, stdout: expect.stringContaining('receipt: clean') });
  expect(await explain(receipt, '--route', 'sse')).toMatchObject({ code: 1 });
  expect(await explain(receipt, '--type', 'receipt')).toMatchObject({
    ...{ code: 2, stderr: expect.stringContaining('have no type but their own') },
  });
});

// The fault: what showed no field's name in plain bytes was "clean", though nobody could look into it.
test('what can not be looked into is never called clean', async () => {
  const wide = Buffer.from('{"userId":"bob","type":"x"}', 'utf16le');
  for (const event of ['{"userId":"bob"', '{"type":"x","thread_id":"t1"', wide]) {
    const ran = await explain(event);
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.stdout).toContain(
      'an event without a type: uninspectable (not all of it can be looked into)',
    );
    expect(ran.stdout).not.toMatch(/bob|: clean/);
  }
});

test('what can not be read or found is told as that', async () => {
  const nowhere = await cutover(['isolation', 'explain', 'no.json', '--user', 'ann'], { cwd: dir });
  expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining('no.json') });
  const route = await explain('{}', '--route', 'nothing');
  expect(route).toMatchObject({ code: 2, stderr: expect.stringContaining('routes are events') });
});
