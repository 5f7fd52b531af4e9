// Writes records until it is killed, and prints the number of each once it is on disk.
import { Journal } from '../../src/control/journal.ts';

const [file = ''] = process.argv.slice(2);
const { journal } = await Journal.open<{ n: number }>(file);
for (let n = 1; ; n += 1) {
  const { seq } = await journal.append({ n });
  process.stdout.write(`${seq}\n`);
}
