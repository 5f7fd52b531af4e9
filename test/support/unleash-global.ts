// One real Unleash server for a whole run of tests, started when the first test asks for it and ended
// with the run. Test files are processes of their own: they ask at an address on loopback.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { TestProject } from 'vitest/node';

const WORKSPACE = path.join(import.meta.dirname, '../../unleash');

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where to ask for the server. */
    unleashBroker: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let server: { child: ChildProcess; line: Promise<string> } | undefined;
  const broker = createServer((_request, response) => {
    if (!existsSync(path.join(WORKSPACE, 'node_modules/unleash-server'))) {
      response.writeHead(404).end('it is not installed: npm ci --ignore-scripts --prefix unleash');
      return;
    }
    server ??= start();
    server.line.then(
      line => response.writeHead(200, { 'content-type': 'application/json' }).end(line),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>(resolve => broker.listen(0, '127.0.0.1', resolve));
  broker.unref();
  const { port } = broker.address() as AddressInfo;
  project.provide('unleashBroker', `http://127.0.0.1:${port}`);
  return async () => {
    broker.close();
    if (server === undefined || server.child.exitCode !== null) return;
    const ended = new Promise(resolve => server?.child.once('exit', resolve));
    server.child.kill('SIGTERM');
    await ended;
  };
}

function start(): { child: ChildProcess; line: Promise<string> } {
  const child = spawn(process.execPath, [path.join(WORKSPACE, 'server.mjs')], {
    // It ends with its stdin, so it does not outlive a run that is killed.
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const said: string[] = [];
  child.stderr.on('data', chunk => said.push(String(chunk)));
  const line = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', code => reject(new Error(`it ended with ${code}: ${said.join('')}`)));
    child.once('error', reject);
  });
  // Whoever asks gets the failure; nobody may have asked yet.
  line.catch(() => undefined);
  return { child, line };
}
