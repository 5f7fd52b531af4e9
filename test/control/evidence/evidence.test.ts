// Evidence as it is kept: the real thread, the real database, fed as the judge feeds it.
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { MessagePort, Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Finding } from '../../../src/rules/verdict.ts';
import {
  differs,
  type EvidenceOptions,
  evidence,
  evidenceConfig,
  finding,
  type TestEvidence,
} from '../../support/evidence.ts';
import { until } from '../../support/until.ts';

const DAY_MS = 24 * 3_600_000;
let kept: TestEvidence;
const begin = async (options?: EvidenceOptions) => {
  kept = await evidence(options);
};
afterEach(() => kept.close());

const all = { limit: 500, offset: 0 };
const groups = async () => (await kept.evidence.ask('groups', all)).groups;
const rows = async () => (await kept.evidence.ask('findings', { limit: 500, after: 0 })).findings;

describe('what is kept', () => {
  beforeEach(() => begin());

  test('is grouped by route, type, verdict, kind and place, with counts and times', async () => {
    await kept.keep(
      finding({ at: 1_000.7, differences: [differs('/items/0/price', 1, 2)] }),
      finding({ at: 3_000, differences: [differs('/items/7/price', 1, 2)] }),
      finding({ at: 2_000, verdict: 'missing', candidate: null, differences: [] }),
    );
    await kept.keep(finding({ at: 4_000, differences: [differs('/items/0/price', 1, 2)] }));
    expect(await kept.evidence.ask('groups', all)).toMatchObject({
      total: 2,
      groups: [
        {
          ...{ route: 'events', eventType: 'agent_started', verdict: 'mismatch', kind: 'value' },
          ...{ path: '/items/*/price', count: 3, firstAt: 1_000, lastAt: 4_000, examples: 3 },
        },
        { verdict: 'missing', kind: '', path: '', count: 1, examples: 1 },
      ],
    });
  });

  test('has its examples whole, but for what is redacted', async () => {
    const event = { type: 'agent_started', user_id: 'user_1001', text: 'hello', none: null };
    await kept.keep(
      finding({ legacy: event, candidate: undefined, at: 5 }),
      finding({ legacy: event, candidate: null, at: 6, verdict: 'missing', differences: [] }),
    );
    const [unread, missing] = await rows();
    expect(unread).toMatchObject({
      ...{ id: 1, verdict: 'mismatch', unit: 'run_9', session: 's_1', at: 5, cut: false },
      legacy: { type: 'agent_started', user_id: { $r: 'user' }, text: 'hello', none: null },
      differences: [differs('/a', 1, 2)],
    });
    expect(unread).not.toHaveProperty('candidate');
    expect(missing).toHaveProperty('candidate', null);
  });

  test('is one example for a pair that differs in two places, which is in both groups', async () => {
    await kept.keep(finding({ differences: [differs('/a', 1, 2), differs('/b', 1, 2)] }));
    const [a, b] = await groups();
    expect([a?.path, b?.path]).toEqual(['/a', '/b']);
    for (const group of [a, b]) {
      const shown = await kept.evidence.ask('group', group?.id ?? 0);
      expect(shown?.examples.map(({ id }) => id)).toEqual([1]);
    }
  });

  test('is the first five and the last five of a kind, however many there are', async () => {
    // The judge hands over one in five seconds after the first five.
    for (let i = 0; i < 30; i += 1) await kept.keep(finding({ unit: `run ${i}`, at: i * 5_000 }));
    const [group] = await groups();
    expect(group).toMatchObject({ count: 30, examples: 10 });
    const shown = await kept.evidence.ask('group', group?.id ?? 0);
    expect(shown?.examples.map(({ unit }) => unit)).toEqual(
      [0, 1, 2, 3, 4, 25, 26, 27, 28, 29].map(i => `run ${i}`),
    );
    expect(await rows()).toHaveLength(10);
  });

  test('is there after a restart, and a restart goes on counting', async () => {
    await kept.keep(finding());
    await kept.evidence.close();
    const again = await evidence({ folder: kept.folder });
    await again.keep(finding());
    const { groups: found } = await again.evidence.ask('groups', all);
    expect(found).toMatchObject([{ count: 2, examples: 2 }]);
    await again.close();
  });

  test('can be read by another process while it is written', async () => {
    await kept.keep(finding());
    const reader = new DatabaseSync(kept.file, { readOnly: true });
    reader.exec('BEGIN');
    expect(reader.prepare('SELECT count(*) AS n FROM examples').get()).toEqual({ n: 1 });
    await kept.keep(finding(), finding());
    expect(kept.evidence.state).toMatchObject({ trouble: null, kept: 3 });
    expect(reader.prepare('SELECT count(*) AS n FROM examples').get()).toEqual({ n: 1 });
    reader.close();
  });

  test('is not readable by other users of the machine', async () => {
    await kept.keep(finding());
    for (const name of await readdir(kept.folder)) {
      expect((await stat(path.join(kept.folder, name))).mode & 0o077, name).toBe(0);
    }
  });
});

// The fault: for ten minutes after it, runs were counted that the candidate before had been found different in.
describe('counting anew', () => {
  beforeEach(() => begin());
  const counted = async () => {
    const asked = { since: null, threshold: 0.5 };
    const { rates } = await kept.evidence.ask('summary', asked);
    const whole = rates.filter(({ eventType }) => eventType === null);
    return whole.map(({ route, units }) => `${units} of ${route}`);
  };

  test('begins with none of what was under way, on that route or on all', async () => {
    await kept.keep(finding(), finding({ route: 'api' }));
    await kept.evidence.ask('restart', { route: 'events' });
    await kept.endUnits();
    expect(await counted()).toEqual(['1 of api']);
    await kept.keep(finding());
    await kept.endUnits();
    expect(await counted()).toEqual(['1 of api', '1 of events']);
    await kept.keep(finding(), finding({ route: 'api' }));
    await kept.evidence.ask('restart', {});
    await kept.endUnits();
    expect(await counted()).toEqual([]);
    expect(await groups()).toMatchObject([{ count: 2 }, { count: 3 }]);
  });

  test('leaves out what a judge had handed over before it knew of it', async () => {
    const line = await new Promise<MessagePort>(resolve => {
      kept.evidence.supply(resolve);
    });
    const told: string[] = [];
    line.on('message', ({ kind }: { kind: string }) => told.push(kind));
    const units = ['events', 'api'].map(route => {
      return { route, eventType: null, of: 'run', hour: 0, units: 1, diverged: 1 };
    });
    const batch = { groups: [], examples: [], units, dropped: {} };
    await kept.evidence.ask('restart', { route: 'events' });
    line.postMessage({ kind: 'batch', batch });
    await until('it is dealt with', () => told.length === 2);
    expect(await counted()).toEqual(['1 of api']);
    line.postMessage({ kind: 'forgotten' });
    line.postMessage({ kind: 'batch', batch });
    await until('that one is, too', () => told.length === 3);
    expect(told).toEqual(['forget', 'done', 'done']);
    expect(await counted()).toEqual(['2 of api', '1 of events']);
    line.close();
  });
});

describe('what is asked', () => {
  beforeEach(async () => {
    await begin();
    await kept.keep(
      finding({ differences: [differs('/data/x', 1, 2)] }),
      finding({ differences: [differs('/data', 1, 2)] }),
      finding({ differences: [differs('/data_x', 1, 2)] }),
      finding({ eventType: 'pong', differences: [differs('/data/x', 1, 2)] }),
      finding({ route: 'api', verdict: 'extra', differences: [] }),
    );
  });

  test.each([
    [{ route: 'api' }, 1],
    [{ type: 'pong' }, 1],
    [{ verdict: 'mismatch' as const }, 4],
    [{ path: '/data' }, 3],
    [{ path: '/data', type: 'agent_started' }, 2],
    [{ path: '/dat' }, 0],
    [{ type: "'; DROP TABLE groups; --" }, 0],
  ])('%j: %i groups, and the findings in them', async (filter, count) => {
    const page = await kept.evidence.ask('groups', { ...filter, ...all });
    expect([page.total, page.groups.length]).toEqual([count, count]);
    const found = await kept.evidence.ask('findings', { ...filter, limit: 500, after: 0 });
    expect(found.findings).toHaveLength(count);
  });

  test('pages: every group and every finding once', async () => {
    const ids = [];
    for (let offset = 0; offset < 6; offset += 2) {
      const page = await kept.evidence.ask('groups', { limit: 2, offset });
      expect(page.total).toBe(5);
      ids.push(...page.groups.map(({ id }) => id));
    }
    expect(new Set(ids).size).toBe(5);
    const first = await kept.evidence.ask('findings', { limit: 3, after: 0 });
    const second = await kept.evidence.ask('findings', { limit: 3, after: first.after ?? -1 });
    expect([...first.findings, ...second.findings].map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
    expect(second.after).toBeNull();
  });

  test('a group that is not there', async () => {
    expect(await kept.evidence.ask('group', 4711)).toBeNull();
  });

  test('a summary: how often runs diverge, how well that is known, and how many kinds there are', async () => {
    for (let i = 0; i < 200; i += 1) {
      const verdict = i === 0 ? 'mismatch' : 'match';
      const differences = i === 0 ? [differs('/data/x', 1, 2)] : [];
      await kept.keep(finding({ unit: `run ${i}`, verdict, differences, at: 5 * DAY_MS }));
    }
    await kept.endUnits();
    const asked = { since: null, threshold: 0.01 };
    const { rates } = await kept.evidence.ask('summary', { ...asked, route: 'events' });
    expect(rates).toMatchObject([
      { eventType: null, units: 201, diverged: 2, kinds: { mismatch: 4, match: 1 } },
      { eventType: 'agent_started', units: 201, diverged: 2, kinds: { mismatch: 3, match: 1 } },
      { eventType: 'pong', units: 1, diverged: 1, kinds: { mismatch: 1 } },
    ]);
    expect(rates[0]?.upper).toBeGreaterThan(0.01);
    expect(rates[0]?.cleanUnitsLeft).toBeGreaterThan(100);
    const late = await kept.evidence.ask('summary', { ...asked, since: 6 * DAY_MS - 1 });
    expect(late.since).toBe(6 * DAY_MS);
    expect(late.rates.map(({ route, units }) => [route, units])).toContainEqual(['api', 1]);
    expect(late.rates.find(({ eventType }) => eventType === 'agent_started')?.units).toBe(1);
  });
});

describe('what is bounded', () => {
  const name = (i: number) => String(i).replace(/\d/g, digit => 'abcdefghij'[Number(digit)] ?? '');
  const kinds = (count: number, rest: Partial<Finding> = {}) =>
    Array.from({ length: count }, (_, i) =>
      finding({ differences: [differs(`/${name(i)}`, 1, 2)], ...rest }),
    );

  test('rows: the frequent kinds give way, every kind keeps its first example and its newest', async () => {
    await begin({ limits: { maxRows: 100 } });
    for (let i = 0; i < 12; i += 1) {
      const run = { unit: `run ${i}`, at: i * 5_000 };
      await kept.keep(...kinds(40, run));
    }
    await kept.keep(finding({ eventType: 'rare' }));
    expect(kept.evidence.state.use?.rows).toBeLessThanOrEqual(100);
    const found = await groups();
    expect(found).toHaveLength(41);
    expect(found.filter(({ examples }) => examples === 0)).toEqual([]);
    const frequent = found.filter(({ eventType }) => eventType !== 'rare');
    expect(frequent.every(({ count, examples }) => count === 12 && examples >= 1)).toBe(true);
    for (const { id, examples } of frequent) {
      const shown = await kept.evidence.ask('group', id);
      expect(shown?.examples[0]?.unit).toBe('run 0');
      if (examples > 1) expect(shown?.examples.at(-1)?.unit).toBe('run 11');
    }
  });

  test('bytes', async () => {
    await begin({ limits: { maxMb: 4 } });
    const legacy = Array.from({ length: 40 }, (_, i) => String(i).repeat(1_000));
    for (let i = 0; i < 20; i += 1) {
      await kept.keep(...kinds(20, { legacy, eventType: `type ${i}`, candidate: legacy }));
    }
    const { use } = kept.evidence.state;
    expect(use?.groups).toBe(400);
    expect(use?.rows).toBeGreaterThan(10);
    expect(use?.bytes).toBeLessThanOrEqual(4 * 1024 * 1024);
    await kept.evidence.close();
    // What was freed is in the file until the retention job gives it back to the disk.
    expect((await stat(kept.file)).size).toBeLessThan(12 * 1024 * 1024);
  });

  test('kinds of one type, and types of one route; what finds no room is counted together', async () => {
    await begin();
    await kept.keep(...kinds(300));
    await kept.keep(...Array.from({ length: 150 }, (_, i) => finding({ eventType: `type ${i}` })));
    const found = (await kept.evidence.ask('groups', { limit: 500, offset: 0 })).groups;
    const started = found.filter(({ eventType }) => eventType === 'agent_started');
    expect(started).toHaveLength(201);
    expect(started.find(group => group.path === '/(other)')).toMatchObject({ count: 100 });
    expect(found.find(({ eventType }) => eventType === '(other)')).toMatchObject({ count: 51 });
    expect(found.reduce((sum, { count }) => sum + count, 0)).toBe(450);
  });

  test('age: what was not seen for so long goes, with its examples and counts', async () => {
    await begin({ limits: { maxAgeDays: 2 } });
    const old = Date.now() - 3 * DAY_MS;
    await kept.keep(finding({ at: old, eventType: 'old' }), finding());
    await kept.endUnits();
    await kept.evidence.close();
    // The retention job runs at every start, and each minute.
    const again = await evidence({ folder: kept.folder, limits: { maxAgeDays: 2 } });
    const { groups: found } = await again.evidence.ask('groups', all);
    expect(found.map(({ eventType }) => eventType)).toEqual(['agent_started']);
    expect((await again.evidence.ask('findings', { limit: 9, after: 0 })).findings).toHaveLength(1);
    const { rates } = await again.evidence.ask('summary', { since: null, threshold: 0.01 });
    expect(rates.map(({ eventType, units }) => [eventType, units])).toEqual([
      [null, 1],
      ['agent_started', 1],
    ]);
    await again.close();
  });

  test('examples of a kind: half of them the first, half the last, as many as are asked for', async () => {
    const runs = async () => (await rows()).map(({ unit }) => unit);
    const from = (first: number) =>
      Array.from({ length: 20 }, (_, i) => finding({ unit: `run ${first + i}`, at: i * 5_000 }));
    await begin({ limits: { examples: 4 } });
    await kept.keep(...from(0));
    expect(await runs()).toEqual(['run 0', 'run 1', 'run 18', 'run 19']);
    kept.evidence.reload(evidenceConfig({ examples: 100 }));
    // The new line is there before what is handed over next.
    await kept.keep(...from(20));
    expect(await runs()).toHaveLength(24);
  });

  test('limits and redaction follow the configuration at once', async () => {
    await begin();
    await kept.keep(...kinds(150));
    kept.evidence.reload(evidenceConfig({ maxRows: 100 }, ['/a']));
    await kept.keep(finding({ legacy: { a: 'private' } }));
    expect(kept.evidence.state.use?.rows).toBeLessThanOrEqual(100);
    const [newest] = (await rows()).slice(-1);
    expect(newest?.legacy).toMatchObject({ a: { $r: 'configured' } });
  });

  // The fault: sessions of a route that a reload took away are compared to their end, and what was personal in them
  // was kept as it is from then on.
  test('... but for a route that is gone, whose sessions are still open', async () => {
    await begin({ redact: ['/a'] });
    const { routes, ...config } = evidenceConfig({});
    kept.evidence.reload({ ...config, routes: routes.map(each => ({ ...each, name: 'another' })) });
    await kept.keep(finding({ legacy: { a: 'private' } }));
    const [newest] = (await rows()).slice(-1);
    expect(newest?.legacy).toMatchObject({ a: { $r: 'configured' } });
  });
});

describe('nothing personal reaches the disk', () => {
  test('whatever was found, and wherever it stood', async () => {
    await begin({ redact: ['/message'] });
    const secrets = ['alice@example.com', 'user_1001', 's3cr3t-value', 'my private words'];
    const [mail, user, token, words] = secrets;
    const event = {
      ...{ type: 'x', user_id: user, token, data: { message: words, note: `to ${mail}` } },
      seen: { [String(user)]: 1 },
    };
    await kept.keep(
      finding({
        ...{ legacy: event, candidate: { ...event, message: words }, eventType: `x ${user}` },
        ...{ key: `k1:${user}`, unit: `run of ${mail}`, session: String(user) },
        differences: [
          { kind: 'extra', path: '/message', candidate: words },
          { kind: 'missing', path: `/seen/${user}`, legacy: 1 },
          differs('/data/note', `to ${mail}`, token),
        ],
      }),
      finding({ verdict: 'missing', legacy: event, candidate: null, eventType: `to ${mail}` }),
    );
    await kept.endUnits();
    expect(kept.evidence.state.kept).toBe(2);
    const database = await stored(kept);
    for (const secret of secrets) expect(database.includes(secret), secret).toBe(false);
    await kept.evidence.close();
    const after = await stored(kept);
    for (const secret of secrets) expect(after.includes(secret), secret).toBe(false);
    expect(after.includes('"$r":"user"')).toBe(true);
  });

  /** The bytes of all files: database, log, index of the log. */
  async function stored({ folder }: TestEvidence): Promise<string> {
    const names = await readdir(folder);
    const files = names.map(name => readFile(path.join(folder, name), 'latin1'));
    return (await Promise.all(files)).join('\n');
  }
});

describe('what is too much', () => {
  beforeEach(() => begin());

  test('an event that is too large is kept as a finding without it, and counted', async () => {
    await kept.keep(finding({ legacy: 'x'.repeat(300_000) }));
    const [found] = await rows();
    expect(found).toMatchObject({ cut: true, differences: [] });
    expect(found).not.toHaveProperty('legacy');
    expect(kept.evidence.state.dropped['too-large']).toBe(1);
    expect(await groups()).toMatchObject([{ path: '/a', count: 1, examples: 1 }]);
  });

  test('a batch that can not be dealt with is counted and told; the next one is kept', async () => {
    const line = await new Promise<MessagePort>(resolve => {
      kept.evidence.supply(resolve);
    });
    const examples = [{ finding: { ...finding(), differences: null }, groups: [], cut: false }];
    const batch = { groups: [], examples, units: [], dropped: {} };
    line.postMessage({ kind: 'batch', batch });
    await kept.keep(finding());
    expect(kept.evidence.state).toMatchObject({ kept: 1, dropped: { failed: 1 }, restarts: 0 });
    expect(kept.logged.join('')).toContain('a batch of evidence could not be dealt with');
  });

  test('a thread that ends by itself begins anew; what is found meanwhile is kept then', async () => {
    await kept.close();
    const threads: Worker[] = [];
    const onThread = (thread: Worker) => void threads.push(thread);
    process.on('worker', onThread);
    await begin();
    await kept.keep(finding());
    // Asked of a thread that runs no more, and has not been heard to end yet.
    const ended = threads[0]?.terminate();
    const question = kept.evidence.ask('groups', all);
    await Promise.all([ended, expect(question).rejects.toThrow('its thread ended')]);
    await kept.keep(finding());
    process.off('worker', onThread);
    expect(kept.evidence.state).toMatchObject({ restarts: 1, kept: 2, thread: 'running' });
    expect(await groups()).toMatchObject([{ count: 2 }]);
  });
});

test('a question while nothing runs is refused with a sentence', async () => {
  await begin();
  await kept.evidence.close();
  await expect(kept.evidence.ask('groups', all)).rejects.toMatchObject({
    code: 'conflict',
    message: 'evidence can not be read: its thread does not run',
  });
});

test('a file that is there already is used, and one that is not ours is set aside', async () => {
  await begin();
  await kept.evidence.close();
  await writeFile(kept.file, 'this is no database, and never was one'.repeat(100));
  const again = await evidence({ folder: kept.folder });
  await again.keep(finding());
  expect(again.evidence.state).toMatchObject({
    ...{ trouble: null, kept: 1 },
    setAside: { file: `${kept.file}.damaged` },
  });
  expect(again.logged.join('')).toContain('was set aside');
  await again.close();
});
