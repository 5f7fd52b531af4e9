// Row 27, and what it suggests: what comes behind a request on its connection, while the answer is due.
import { describe, expect, test } from 'vitest';
import { asked, LANES, line, ok } from '../support/line.ts';
import { onTheWay } from '../support/on-the-way.ts';
import { decisionFor, type ProxyOptions } from '../support/proxy.ts';
import { type RawEnd, type RawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: h\r\n${fields}\r\n`;
const isGone = (end: RawEnd) => end.ended || end.closed;
const gone = (end: RawEnd) => until('the client is closed', () => isGone(end));

describe.each(LANES)('%s', (_lane, path) => {
  /** The fault: the refusal was written at once, into the middle of the answer that was under way. */
  test('garbage behind a request is refused behind its answer', async () => {
    const { service, client, front } = await line();
    const end = await client();
    end.write(get(path));
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    await end.has('half');
    end.write('garbage\r\n\r\n');
    await until('it is counted', () => front.reports.some(r => r.what === 'bad-request'));
    for (let i = 0; i < 20; i += 1) end.write('and more of it');
    upstream.write('rest');
    await gone(end);
    const [, ...bodies] = end.text.split('\r\n\r\n');
    expect(bodies[0]).toMatch(/^halfrestHTTP\/1\.1 400 /);
    expect(bodies[1]).toContain('"code":"bad-request"');
    expect(front.reports.filter(r => r.kind === 'failed')).toHaveLength(1);
  });

  test('garbage within a body whose answer has begun cuts that answer off', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n`);
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    await end.has('half');
    end.write('garbage\r\n');
    await gone(end);
    expect(end.text.endsWith('half')).toBe(true);
    await until('the service is let go', () => upstream.ended || upstream.closed);
    expect(upstream.text).not.toMatch(/\r\n0\r\n/);
  });

  test('what comes behind the last request that a client announced changes nothing', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(get(path, 'Connection: close\r\n') + get(`${path}/second`));
    (await asked(service)).write(ok());
    await gone(end);
    expect(end.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s);
    expect(service.connections).toHaveLength(1);
  });

  /** The fault: whoever was told that his request can not be read had the next one served. */
  test.each([
    ['two Hosts', get(path, 'Host: g\r\n')],
    // node:http answered that by itself.
    ['no Host', `GET ${path} HTTP/1.1\r\n\r\n`],
    ['a coding under the chunks', `${get(path, 'Transfer-Encoding: gzip, chunked\r\n')}0\r\n\r\n`],
  ])('nothing is served behind a request that was refused for %s', async (_what, bad) => {
    const { service, client } = await line();
    const end = await client();
    end.write(bad + get(`${path}/second`));
    await gone(end);
    expect(end.text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(service.connections).toHaveLength(0);
  });

  test('the end of its side behind a request is a client’s leaving: the service is let go, and nobody answers', async () => {
    const { service, client } = await line();
    const end = await client();
    end.socket.end(get(path));
    const upstream = await asked(service);
    await until('the service is let go', () => isGone(upstream));
    await gone(end);
    expect(end.text).toBe('');
  });

  test('requests of one client are answered in their order', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(get(`${path}/1`) + get(`${path}/2`));
    for (const n of [1, 2]) {
      const upstream = await until(`request ${n} arrives`, () =>
        service.connections.find(c => c.text.includes(`${path}/${n} HTTP`)),
      );
      upstream.write(ok(`body ${n}`));
      await end.has(`body ${n}`);
    }
    expect(end.text.indexOf('body 1')).toBeLessThan(end.text.indexOf('body 2'));
  });

  /** Two requests of one client, each on a connection of its own to the service. */
  const two = async (options: Partial<ProxyOptions> = {}) => {
    const { service, client, front } = await line(options);
    const end = await client();
    const user = (n: number) => get(`${path}/${n}`, `Authorization: ${n}\r\n`);
    end.write(user(1) + user(2));
    return { service, front, end, first: await asked(service), second: await asked(service) };
  };

  /** The fault: on connections of their own to the service they all ran at once, writes as well. */
  test('27: a request that changes something waits for those before it, and those behind wait for it', async () => {
    const { service, client } = await line();
    const end = await client();
    const user = (n: number) => `Authorization: ${n}\r\n`;
    const post = (n: number) =>
      `POST ${path}/${n} HTTP/1.1\r\nHost: h\r\n${user(n)}Content-Length: 1\r\n\r\n${n}`;
    const reads = [1, 2].map(n => get(`${path}/${n}`, user(n)));
    end.write(`${reads.join('')}${post(3)}${post(4)}${get(`${path}/5`, user(5))}`);
    const numbers = () =>
      service.connections.flatMap(c => c.text.match(/\/(\d) HTTP/)?.[1] ?? []).sort();
    for (const group of [['1', '2'], ['3'], ['4'], ['5']]) {
      const upstreams: RawEnd[] = [];
      for (const _ of group) upstreams.push(await asked(service));
      // Somebody else's, which comes behind whatever was begun too early.
      (await client()).write(get(`${path}/other`));
      expect((await asked(service)).text).toContain('/other');
      expect(numbers()).toEqual(['1', '2', '3', '4', '5'].slice(0, Number(group.at(-1))));
      for (const upstream of upstreams) upstream.write(ok());
    }
    await until('all are answered', () => end.text.match(/\r\n\r\nok/g)?.length === 5);
  });

  /** The fault: its client got half of it, and then neither more nor an end. */
  test.each(['ends', 'resets'])(
    '27, 47: an answer that its service %s before its turn has none: the one before it comes whole, then the end',
    async how => {
      const { front, end, first, second } = await two();
      second.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
      await until('it is read', () => onTheWay(second, 'out') === 0);
      if (how === 'ends') second.socket.end();
      else second.socket.resetAndDestroy();
      await until('it is known', () => front.reports.some(r => r.what === 'upstream-closed'));
      expect(isGone(end)).toBe(false);
      first.write(ok('first'));
      await gone(end);
      expect(end.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nfirst$/s);
    },
  );

  /** The fault: it counted as one that its client does not take, and was given up after `stallMs`. */
  test('27: an answer may wait for its turn as long as the one before it lasts', async () => {
    const { end, first, second } = await two({ limits: { stallMs: 300 } });
    second.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsec');
    // Clients are looked at once a second.
    const lookedAt = performance.now() + 2_500;
    await until('its time is over twice', () => performance.now() > lookedAt);
    second.write('ond');
    first.write(ok('first'));
    await end.has('second');
    expect(end.text).toMatch(/\r\n\r\nfirstHTTP\/1\.1 200 OK\r\n.*\r\n\r\nsecond$/s);
  });

  /** The fault: 60,000 requests of one client had 5,236 connections to the service, and 389 MB. */
  test('27, 45: of one client 32 requests are under way, the next ones wait, and nothing more is read', async () => {
    const { service, client } = await line();
    const end = await client();
    const pad = `X-Pad: ${'p'.repeat(8_000)}\r\n`;
    // A credential each, or they would share a connection to the service and take turns.
    const user = (n: number) => get(`${path}/${n}`, `Authorization: ${n}\r\n`);
    const MANY = 200;
    // What one read holds, and what the system would take without anybody who reads.
    end.write(Array.from({ length: MANY }, (_, n) => user(n)).join(''));
    for (let n = 0; n < 2_000; n += 1) end.write(get(path, pad));
    for (let answered = 0; answered < MANY; answered += 1) {
      const upstream = await asked(service);
      expect(upstream.text).toContain(`${path}/${answered} HTTP`);
      await until('as many are there as may be', () => {
        return service.connections.length >= Math.min(answered + 32, MANY);
      });
      expect(service.connections.length - answered).toBeLessThanOrEqual(32);
      expect(end.socket.writableLength).toBeGreaterThan(0);
      upstream.write(ok(`body ${answered}.`));
      await end.has(`body ${answered}.`);
    }
  });

  test('27, 45: a client that was held back is read on: the rest of a body comes, and the next request', async () => {
    const { service, client } = await line();
    const end = await client();
    const user = (n: number, fields = '') => `Authorization: ${n}\r\n${fields}`;
    const head = (n: number) => `POST ${path}/${n} HTTP/1.1\r\nHost: h\r\n`;
    const few = Array.from({ length: 40 }, (_, n) => get(`${path}/${n}`, user(n)));
    end.write(`${few.join('')}${head(40)}${user(40, 'Content-Length: 4\r\n')}\r\nha`);
    const first = await asked(service);
    await until('32 are under way', () => service.connections.length === 32);
    end.write(`lf${get(`${path}/41`, user(41))}`);
    for (let n = 0; n < 42; n += 1) {
      const upstream = n === 0 ? first : await asked(service);
      if (n === 40) await upstream.has('half');
      upstream.write(ok(`body ${n}.`));
      await end.has(`body ${n}.`);
    }
  });

  describe('27: the head of a request that', () => {
    /** Heads that are late are looked for once a second. */
    const whenLate = (headersTimeoutMs: number) => {
      const lookedAt = performance.now() + headersTimeoutMs + 2_200;
      return until('its time is over twice', () => performance.now() > lookedAt);
    };
    const half = `GET ${path}/40 HTTP/1.1\r\nHost: h\r\nAuthor`;

    const held = async (headersTimeoutMs = 300) => {
      const { service, client } = await line({ limits: { headersTimeoutMs } });
      const end = await client();
      const user = (n: number) => get(`${path}/${n}`, `Authorization: ${n}\r\n`);
      end.write(`${Array.from({ length: 40 }, (_, n) => user(n)).join('')}${half}`);
      await until('32 are under way', () => service.connections.length === 32);
      await whenLate(headersTimeoutMs);
      return { service, end };
    };
    const answerThem = async (service: RawServer, end: RawEnd, count: number) => {
      for (let n = 0; n < count; n += 1) {
        (await asked(service)).write(ok(`body ${n}.`));
        await end.has(`body ${n}.`);
      }
    };

    // Three side by side, which wait until nothing has happened; the last one answers against a limit.
    /** The fault: its time ran on while nobody read the rest of it, and its client got a 408. */
    test.concurrent('lies unread behind those that wait is not late', async () => {
      const { service, end } = await held();
      end.write('ization: 40\r\n\r\n');
      await answerThem(service, end, 41);
      expect(end.text).not.toContain(' 408 ');
    });

    test.concurrent('is read on has as long again, and no longer', async () => {
      const { service, end } = await held();
      await answerThem(service, end, 40);
      await gone(end);
      expect(end.text).toMatch(/body 39\.HTTP\/1\.1 408 /);
      expect(service.connections).toHaveLength(40);
    });

    /** node:http reads nothing more either while there is an answer that its client does not take. */
    test.concurrent('lies unread behind an answer that is taken slowly is not late', async () => {
      const { service, client } = await line({ limits: { headersTimeoutMs: 300 } });
      const end = await client();
      end.socket.pause();
      end.write(get(path, 'Authorization: 1\r\n'));
      const upstream = await asked(service);
      const long = ok('x'.repeat(8_000_000));
      upstream.write(long);
      let seen = { waiting: 0, atMs: 0 };
      await until('nobody takes more', () => {
        const [waiting, atMs] = [onTheWay(end, 'in'), performance.now()];
        if (waiting !== seen.waiting) seen = { waiting, atMs };
        return waiting > 0 && atMs - seen.atMs > 500;
      });
      end.write(`${get(path, 'Authorization: 2\r\n')}${half}`);
      const second = await asked(service);
      await whenLate(300);
      end.write('ization: 3\r\n\r\n');
      end.socket.resume();
      await until('it is taken', () => end.received.length >= long.length);
      second.write(ok('body 2.'));
      await end.has('body 2.');
      (await asked(service)).write(ok('body 3.'));
      await end.has('body 3.');
    });

    test('was held back and becomes that of a WebSocket has nothing written into it', async () => {
      const { service, end } = await held(2_000);
      await answerThem(service, end, 40);
      end.write(`ization: 40\r\n${upgradeRequest().replace(/^.*\r\nHost.*\r\n/, '')}`);
      const upstream = await asked(service);
      await upstream.accept();
      await end.has(' 101 ');
      await whenLate(2_000);
      expect(end.text).toMatch(/\r\n\r\n$/);
      expect(isGone(end)).toBe(false);
    });
  });

  test('27: a client that leaves while its requests wait takes them along', async () => {
    const { service, client, front } = await line();
    const end = await client();
    end.write(Array.from({ length: 60 }, (_, n) => get(path, `Authorization: ${n}\r\n`)).join(''));
    await until('32 are under way', () => service.connections.length === 32);
    (await asked(service)).write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
    await end.has('half');
    end.socket.resetAndDestroy();
    // Held back, it is not read; that it has left shows where it is written to.
    await until('the service is let go', () => {
      for (const upstream of service.connections) upstream.write('x');
      return service.connections.every(upstream => upstream.ended || upstream.closed);
    });
    const other = await client();
    other.write(get(path));
    const upstream = await until('another client is served', () => service.connections[32]);
    expect(upstream.text).not.toContain('Authorization');
    expect(front.reports.filter(r => r.what === 'internal')).toEqual([]);
  });

  test('27: what waits behind a request that was refused for its form is not served', async () => {
    const { service, client } = await line();
    const end = await client();
    const some = (from: number) =>
      Array.from({ length: 40 }, (_, n) => get(`${path}/${from + n}`, `Authorization: ${n}\r\n`));
    end.write(some(0).join('') + get(path, 'Host: g\r\n') + some(100).join(''));
    for (let n = 0; n < 40; n += 1) {
      (await asked(service)).write(ok(`body ${n}.`));
      await end.has(`body ${n}.`);
    }
    await gone(end);
    expect(end.text).toMatch(/body 39\.HTTP\/1\.1 400 /);
    expect(service.connections).toHaveLength(40);
  });

  /** The fault: what had waited with it for a write began in the same turn. */
  test('27: nor is what waited for the same write as that', async () => {
    const { service, client } = await line();
    const end = await client();
    const post = `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1`;
    end.write(post + get(path, 'Host: g\r\n') + get(path, 'Authorization: 2\r\n'));
    (await asked(service)).write(ok());
    await gone(end);
    expect(end.text).toMatch(/\r\n\r\nokHTTP\/1\.1 400 /);
    expect(service.connections).toHaveLength(1);
  });

  test('27: garbage behind requests that wait is refused behind the last of them', async () => {
    const { service, client } = await line();
    const end = await client();
    const some = Array.from({ length: 40 }, (_, n) => get(path, `Authorization: ${n}\r\n`));
    end.write(`${some.join('')}garbage\r\n\r\n`);
    for (let n = 0; n < 40; n += 1) {
      (await asked(service)).write(ok(`body ${n}.`));
      await end.has(`body ${n}.`);
    }
    await gone(end);
    expect(end.text).toMatch(/body 39\.HTTP\/1\.1 400 /);
  });

  /**
   * The fault: node:http drops what came in one read with an upgrade that nobody takes. The request there
   * was never answered, and of one that was cut there, the rest was served as another request.
   */
  test.each([
    ['whole', ''],
    ['cut in the middle', `GET ${path}/b HTTP/1.1\r\nHost: h\r\nX: `],
  ])('27, 28: nothing is served behind an upgrade to another protocol, %s', async (_how, cut) => {
    for (const protocol of ['foo', 'h2c']) {
      const { service, client } = await line();
      const end = await client();
      end.write(get(path, `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n`) + (cut || get(path)));
      const upstream = await asked(service);
      end.write(get(`${path}/smuggled`));
      upstream.write(ok('mine'));
      await gone(end);
      expect(end.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*Connection: close\r\n(.*\r\n)?\r\nmine$/s);
      expect(service.connections).toHaveLength(1);
      expect(upstream.text).not.toMatch(/smuggled|upgrade/i);
    }
  });

  test('27: an upgrade behind a request that has no answer yet is refused behind that answer', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(get(path) + upgradeRequest());
    const upstream = await asked(service);
    upstream.write(ok('mine'));
    await gone(end);
    expect(end.text).toMatch(/\r\n\r\nmineHTTP\/1\.1 400 .*"code":"bad-upgrade"/s);
    expect(service.connections).toHaveLength(1);
  });

  describe.each([
    ['an upgrade', upgradeRequest(), 400],
    ['a CONNECT', 'CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n', 405],
  ])('27: behind %s', (_asked, last, status) => {
    /** Of what is more than any socket holds, written as fast as it is read. */
    const answerOf = (bytes: number) => Buffer.from(ok('x'.repeat(bytes)));

    /** The fault: nobody told the answer that its connection takes more; it stood still for ever. */
    test('an answer that is due comes whole, then the refusal', async () => {
      const { service, client } = await line();
      const end = await client();
      end.write(get(path) + last);
      (await asked(service)).write(answerOf(4_000_000));
      await gone(end);
      expect(end.text).toMatch(new RegExp(`x{100}HTTP/1\\.1 ${status} `));
      expect(end.text.match(/x/g)?.length).toBeGreaterThanOrEqual(4_000_000);
    });

    /** The fault: those that had not had their turn were never told, and kept their services for ever. */
    test('answers that are due do not outlive their client', async () => {
      const { service, client, front } = await line();
      const end = await client();
      const user = (n: number) => get(path, `Authorization: ${n}\r\n`);
      // The third shares its connection to the service with the second, where it has one of its own.
      end.write(user(1) + user(2) + user(2) + last);
      for (const upstream of [await asked(service), await asked(service)])
        upstream.write(answerOf(8_000_000).subarray(0, 4_000_000));
      await end.has('\r\n\r\nxxxx');
      end.socket.resetAndDestroy();
      await until('the services are let go', () => service.connections.every(isGone));
      const open = [...front.traffic.counters()].map(({ counters }) => counters.answersOpen);
      expect(open.filter(count => count > 0)).toEqual([]);
      expect(front.reports.filter(r => r.what === 'internal')).toEqual([]);
    });

    test('the end of its side is a client’s leaving, as without it', async () => {
      const { service, client } = await line();
      const end = await client();
      end.write(get(path) + last + 'x'.repeat(200_000));
      const upstream = await asked(service);
      end.socket.end();
      await until('the service is let go', () => isGone(upstream));
      await gone(end);
      expect(end.text).toBe('');
    });
  });

  /** The fault: it was refused in the middle of the answer before that, or a WebSocket was opened there. */
  describe.each([
    ['garbage', 'garbage\r\n\r\n'],
    ['an upgrade', upgradeRequest()],
    ['a CONNECT', 'CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n'],
  ])('27: %s behind an answer that breaks off before its turn is not answered', (_what, bad) => {
    test.each(['before', 'after'])('which it does %s that comes', async when => {
      const { front, end, first, second, service } = await two();
      const failures = (count: number) =>
        until(
          'it is counted',
          () => front.reports.filter(r => r.kind === 'failed').length === count,
        );
      first.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
      await end.has('half');
      second.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
      await until('it is read', () => onTheWay(second, 'out') === 0);
      if (when === 'after') {
        end.write(bad);
        await failures(1);
      }
      second.socket.end();
      await failures(when === 'after' ? 2 : 1);
      if (when === 'before') end.write(bad);
      await failures(2);
      first.write('rest');
      await gone(end);
      expect(end.text).toMatch(/\r\n\r\nhalfrest$/);
      expect(service.connections).toHaveLength(2);
    });
  });
});

test('27: a write behind one that is under way waits for it when the bypass is engaged between them', async () => {
  let isEngaged = false;
  const { service, client } = await line({ bypassed: () => isEngaged });
  const end = await client();
  const post = (n: number) => `POST /api/${n} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n${n}`;
  end.write(post(1));
  const first = await asked(service);
  isEngaged = true;
  end.write(post(2));
  const other = await client();
  other.write(get('/api/other'));
  expect((await asked(service)).text).toContain('/api/other');
  first.write(ok('first'));
  const second = await asked(service);
  expect(second.text).toContain('/api/2');
  second.write(ok('second'));
  await end.has('second');
});

/** The fault: it went out when its turn came, after the proof said that the candidate's last byte had. */
test('27: what a rollback cuts off before its turn never goes out', async () => {
  const { service, client, front } = await line({
    routes: [
      { name: 'old', path: '/old', protocol: 'http' },
      { name: 'new', path: '/new', protocol: 'http' },
    ],
    decider: ({ name }) => ({
      decision: decisionFor(name === 'new' ? 'candidate' : 'legacy'),
      revision: 'test',
    }),
  });
  const end = await client();
  end.write(get('/old') + get('/new'));
  const [first, second] = [await asked(service), await asked(service)];
  second.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
  await until('it is read', () => onTheWay(second, 'out') === 0);
  await front.traffic.rollBack(new Set(['new'])).done;
  first.write(ok('first'));
  await gone(end);
  expect(end.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nfirst$/s);
});

describe.each([
  ['of a route', '/ws', false],
  ['that no route names', '/elsewhere', false],
  ['under the bypass', '/ws', true],
] as const)('27: behind an upgrade request %s', (_what, path, engaged) => {
  test.each([
    ['refuses it', 'HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'],
    ['takes it for a request', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno'],
  ])('a request never reaches a service that %s', async (_how, answer) => {
    const { service, client } = await line({ bypassed: () => engaged });
    const end = await client();
    end.write(upgradeRequest(path) + get('/admin'));
    const upstream = await asked(service);
    end.write(get('/admin'));
    upstream.write(answer);
    await end.has('\r\n\r\nno');
    await gone(end);
    end.socket.end();
    await until('the service is let go', () => upstream.ended || upstream.closed);
    expect(upstream.text).not.toContain('/admin');
    expect(service.connections).toHaveLength(1);
  });
});
