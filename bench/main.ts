// `npm run bench -- NAME [--json]`: runs one benchmark and prints its figures.
import { benchBroadcasters } from './broadcasters.ts';
import { benchFlags } from './flags.ts';
import { benchHttp } from './http.ts';
import { benchWs } from './ws.ts';

/** Each prints for people while it runs (unless `json`), and returns what `--json` prints. */
const BENCHES: Readonly<Record<string, (options: { json: boolean }) => Promise<object>>> = {
  broadcasters: benchBroadcasters,
  ws: benchWs,
  http: benchHttp,
  flags: benchFlags,
};

const [name = '', ...flags] = process.argv.slice(2);
const unknown = flags.find(flag => flag !== '--json');
const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
if (bench === undefined || unknown !== undefined) {
  console.error(`usage: npm run bench -- NAME [--json]; names: ${Object.keys(BENCHES).join(', ')}`);
  process.exitCode = 2;
} else {
  const json = flags.length > 0;
  const result = await bench({ json });
  if (json) console.log(JSON.stringify(result));
}
