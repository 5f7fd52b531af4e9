// `npm run bench -- NAME [--json]`: runs one benchmark and prints its figures. Some take sizes, such
// as `verdicts --events 5000 --clean 5000`.
import { parseArgs } from 'node:util';
import { benchBroadcasters } from './broadcasters.ts';
import { benchFlags } from './flags.ts';
import { benchGuard } from './guard.ts';
import { benchHttp } from './http.ts';
import { benchIsolation, ISOLATION_SIZES } from './isolation.ts';
import { goFirst } from './machine.ts';
import { benchResident, RESIDENT_SIZES } from './resident.ts';
import { benchRollback, ROLLBACK_SIZES } from './rollback.ts';
import { benchShadow } from './shadow.ts';
import { benchVerdicts, VERDICT_SIZES } from './verdicts.ts';
import { benchWs } from './ws.ts';

type Sizes = Readonly<Record<string, number>>;

interface Bench {
  /** Prints for people while it runs (unless `json`), and returns what `--json` prints. */
  readonly run: (options: { json: boolean }, sizes: Sizes) => Promise<object>;
  /** What may be set, with its default. */
  readonly sizes?: Sizes;
  /** It is about times shorter than others' turns at the CPUs. */
  readonly goesFirst?: true;
}

const BENCHES: Readonly<Record<string, Bench>> = {
  broadcasters: { run: benchBroadcasters },
  ws: { run: benchWs },
  shadow: { run: benchShadow, goesFirst: true },
  resident: {
    run: (options, sizes) => benchResident({ ...options, ...RESIDENT_SIZES, ...sizes }),
    sizes: RESIDENT_SIZES,
  },
  http: { run: benchHttp },
  flags: { run: benchFlags },
  guard: { run: benchGuard },
  rollback: {
    run: (options, sizes) => benchRollback({ ...options, ...ROLLBACK_SIZES, ...sizes }),
    sizes: ROLLBACK_SIZES,
  },
  isolation: {
    run: (options, sizes) => benchIsolation({ ...options, ...ISOLATION_SIZES, ...sizes }),
    sizes: ISOLATION_SIZES,
  },
  verdicts: {
    run: (options, sizes) => benchVerdicts({ ...options, ...VERDICT_SIZES, ...sizes }),
    sizes: VERDICT_SIZES,
    goesFirst: true,
  },
};

const [name = '', ...words] = process.argv.slice(2);
const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
const read = bench === undefined ? null : optionsOf(words, bench.sizes ?? {});
if (bench === undefined || read === null) {
  console.error(`usage: npm run bench -- NAME [--json]; names: ${Object.keys(BENCHES).join(', ')}`);
  for (const [of, { sizes = {} }] of Object.entries(BENCHES)) {
    const known = Object.entries(sizes).map(([size, value]) => `--${size} ${value}`);
    if (known.length > 0) console.error(`${of} takes ${known.join(' ')}`);
  }
  process.exitCode = 2;
} else {
  if (bench.goesFirst && !goFirst()) {
    console.error('chrt is not permitted here: times hold only as far as nothing else is busy');
  }
  // What it has started is ended as it exits, proxies that are held among them.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const result = await bench.run({ json: read.json }, read.sizes);
  if (read.json) console.log(JSON.stringify(result));
}

/** Null if they are not to be understood. */
function optionsOf(args: string[], known: Sizes): { json: boolean; sizes: Sizes } | null {
  const sized = Object.keys(known).map(size => [size, { type: 'string' }] as const);
  try {
    const options = { json: { type: 'boolean' }, ...Object.fromEntries(sized) } as const;
    const { json, ...given } = parseArgs({ args, options }).values;
    const sizes = Object.entries(given).map(([size, text]) => [size, Number(text)] as const);
    if (sizes.some(([, value]) => !Number.isSafeInteger(value) || value < 0)) return null;
    return { json: json === true, sizes: Object.fromEntries(sizes) };
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
