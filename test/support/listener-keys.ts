// Certificate and key of a listener, for tests.
import { readFile } from 'node:fs/promises';
import path from 'node:path';

export async function listenerKeys(): Promise<{ cert: string; key: string }> {
  const folder = path.join(import.meta.dirname, '../fixtures/tls');
  const read = (name: string) => readFile(path.join(folder, name), 'utf8');
  return { cert: await read('cert.pem'), key: await read('key.pem') };
}
