// `cutover noise`: measures in which values legacy differs from itself, as a profile to be reviewed.
import { access, writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { Command } from 'commander';
import type { NoiseView } from '../control/noise-measuring.ts';
import type { NoisyField } from '../rules/compare/noise.ts';
import type { UnexcusedPlace } from '../rules/noise-profile.ts';
import { type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure, NOT_UNDERSTOOD } from './failure.ts';
import { duration, paint, plain, print, table } from './output.ts';

const LOOK_MS = 500;
const UNITS_MS = { s: 1_000, m: 60_000, h: 3_600_000 };

const HELP = `
Of the safe requests (GET, HEAD, OPTIONS without a body) that legacy serves on the route, a share is sent
to legacy a second time, marked x-cutover-role: shadow, at most 20 a second. Both answers are compared by
the route's rules; clients do not wait. A value that differs is taken into the profile unless the candidate,
where it is compared meanwhile, differs there more often by more than 20 % relative and 0.03 % absolute.
What is absent, of another type, length or order, or names a user, is never excused.

WebSockets and event streams need another instance of legacy, upstreams.legacyTwin: beside a share of those that
open and are compared, 200 at a time, one more is opened there as the client opened his, and told nothing; its
events are held against those of legacy.

The command waits, then writes the profile for you to review; a file that is there already is left alone.
It takes effect where the route names it (noise: api.noise.yaml) and the configuration is read again.

Examples:
  cutover noise measure --route api --for 10m
  cutover noise measure --route api --for 1h --share 100% --out noise/api.yaml`;

interface MeasureOptions extends AdminPlace {
  readonly route?: string;
  readonly for: string;
  readonly share: string;
  readonly out?: string;
}

export function noiseCommand(): Command {
  const measure = remoteCommand('measure')
    .description('ask legacy twice for a while, and write down in which values it differs')
    .option('--route <name>', 'the route')
    .option('--for <time>', 'such as 90s, 10m, 2h; at most 24h', '10m')
    .option('--share <percent>', 'of the requests or streams, 20 a second at most', '10%')
    .option('--out <file>', 'where to (default: <route>.noise.yaml)')
    .addHelpText('after', HELP)
    .action(runMeasure);
  return new Command('noise')
    .description('measure in which values legacy differs from itself')
    .addCommand(measure);
}

async function runMeasure(options: MeasureOptions): Promise<void> {
  const { route, json = false } = options;
  if (route === undefined) throw new CommandFailure(NOT_UNDERSTOOD, 'name the route: --route api');
  const out = options.out ?? `${route}.noise.yaml`;
  const body = { route, forMs: millisecondsOf(options.for), share: shareOf(options.share) };
  if (await isThere(out))
    throw new CommandFailure(1, `${out} is there already; name another with --out`);
  const admin = await connectAdmin(options);
  let view = await admin.post<NoiseView>('/noise', body);
  if (!json) {
    process.stdout.write(
      `measuring for ${duration(view.leftMs / 1_000)}; the file will be ${out}\n`,
    );
  }
  while (view.state === 'measuring') {
    await pause(Math.min(LOOK_MS, view.leftMs + 1));
    view = await admin.get<NoiseView>('/noise', { route });
  }
  if (view.pairs.twin === 0) {
    const message = `legacy was asked nothing twice: nothing of route ${plain(route)} reached it meanwhile, or nothing could be compared; nothing is written`;
    throw new CommandFailure(1, message);
  }
  await write(out, profileText(view));
  print({ ...view, file: out }, json, found => summary(found, out));
}

/** Before it is waited for. One that is there was reviewed by somebody. */
async function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: 'wx' });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : 'unknown error';
    const why = code === 'EEXIST' ? 'is there already' : `can not be written (${code})`;
    const hint = 'the profile can be had once more with --json, or from GET /api/v1/noise';
    throw new CommandFailure(1, `${file} ${why}; ${hint}`, error);
  }
}

/** The file, with what is not excused as comments: a person is to read both. */
function profileText({ profile, unexcused, pairs }: NoiseView): string {
  const { version, route, measuredAt, fields } = profile;
  const against =
    pairs.candidate === 0
      ? 'The candidate was not compared meanwhile.'
      : `Beside ${pairs.candidate} pairs of legacy and the candidate.`;
  return [
    '# Values in which legacy differs from itself: a pair that differs in nothing else is noise, not a',
    `# mismatch. Measured on ${pairs.twin} pairs of legacy and legacy. ${against}`,
    '# Take out what the candidate must get right.',
    `version: ${version}`,
    `route: ${JSON.stringify(route)}`,
    `measuredAt: ${JSON.stringify(new Date(measuredAt).toISOString())}`,
    fields.length === 0 ? 'fields: []' : 'fields:',
    ...fields.map(field => `  - ${fieldText(field)}`),
    ...(unexcused.length === 0 ? [] : ['# Not excused:']),
    ...unexcused.map(place => `#   ${fieldText(place)}: ${place.why}`),
    '',
  ].join('\n');
}

/** JSON strings are YAML too, and stay on their line whatever they hold. */
function fieldText({ eventType, path, pairs, differed }: NoisyField): string {
  const texts = `eventType: ${JSON.stringify(eventType)}, path: ${JSON.stringify(path)}`;
  return `{ ${texts}, pairs: ${pairs}, differed: ${differed} }`;
}

function summary({ profile, unexcused, pairs }: NoiseView, file: string): string {
  const { fields } = profile;
  const head = ['type', 'path', 'differed', 'of', ''];
  const rows = [
    ...fields.map(field => [...cells(field), 'excused']),
    ...unexcused.map((place: UnexcusedPlace) => [
      ...cells(place),
      paint('yellow', `reported: ${place.why}`),
    ]),
  ];
  const compared = `${pairs.twin} pairs of legacy and legacy, ${pairs.candidate} of legacy and the candidate`;
  return [
    rows.length === 0 ? calmText(pairs.twin) : table(head, rows),
    `${compared}; wrote ${file}: review it, name it as the route's noise, and have the configuration read again`,
  ].join('\n');
}

/** Of so many pairs none differed: with 95 % certainty a share below this one does (0.05 ** (1 / n) of n alike). */
function calmText(pairs: number): string {
  const most = (100 * (1 - 0.05 ** (1 / pairs))).toPrecision(2);
  return `legacy did not differ from itself in ${pairs} pairs: by these alone, up to ${most} % of all may`;
}

const cells = ({ eventType, path, pairs, differed }: NoisyField): string[] => [
  ...[plain(eventType), plain(path), String(differed), String(pairs)],
];

function millisecondsOf(text: string): number {
  const [, amount, unit] = /^(\d{1,6})([smh])$/.exec(text) ?? [];
  const ms = Number(amount) * (UNITS_MS[unit as keyof typeof UNITS_MS] ?? Number.NaN);
  if (ms > 0) return ms;
  throw new CommandFailure(
    NOT_UNDERSTOOD,
    `${JSON.stringify(text)} is no time; write it as 90s, 10m or 2h`,
  );
}

function shareOf(text: string): number {
  const percent = Number(/^(\d{1,3}(?:\.\d{1,3})?)%?$/.exec(text)?.[1]);
  if (percent > 0 && percent <= 100) return percent / 100;
  throw new CommandFailure(
    NOT_UNDERSTOOD,
    `${JSON.stringify(text)} is no share; write it as 10% or 100%`,
  );
}
