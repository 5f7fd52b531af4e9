// Files of the state folder that only this user may read.
import { chmod, open, rename, stat } from 'node:fs/promises';

/** Under another name first, so that a crash leaves no half a secret. */
export async function writeSecret(path: string, content: string): Promise<void> {
  const draft = `${path}.new`;
  const handle = await open(draft, 'w', 0o600);
  try {
    // A draft of an earlier crash keeps its mode.
    await handle.chmod(0o600);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, path);
}

/** Takes a file that is there from everybody else; true if others could read it until now. */
export async function closeToOthers(path: string): Promise<boolean> {
  if (((await stat(path)).mode & 0o077) === 0) return false;
  await chmod(path, 0o600);
  return true;
}
