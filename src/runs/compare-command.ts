// `cutover compare`: are two running services the same to their users?
import { appendFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import pino from 'pino';
import { mintToken } from '../broadcast/token.ts';
import { CutoverError } from '../errors.ts';
import { reportText } from './comparison-report.ts';
import { runComparison, SCENARIOS, type Scenario } from './comparison-run.ts';
import { duration, wholeNumber } from './option-values.ts';

const HELP = `
Starts a proxy of its own with temporary state, lets synthetic users run a scenario through it to the
legacy service, shows the candidate the same, and says whether it answered the same. It needs no
configuration: what may differ is what the example cutover.yaml allows. Writes report.json and
report.md, in which nothing personal stands.

Scenarios:
${Object.entries(SCENARIOS)
  .map(([name, what]) => `  ${name}  ${what}`)
  .join('\n')}
They drive no plain requests and no event streams: for those put the proxy in stage shadow.

Users are user_1001, user_1002 and so on, or those whom --tokens names. Nobody else may be logged in as them
meanwhile, nor another comparison of the same services run: what others have legacy send them is missing from
the candidate.

Ends with 0 if they are equal, 1 if they differ, 2 if the candidate sent data of one user to another, 3 if it could
not tell, and says why: a service can not be reached, too few events, too many that could not be judged.
3 is also for a word, a file or a folder that is wrong, and where Cutover failed.
A session that legacy keeps and the candidate refuses or ends is a difference, however few there are.

Examples:
  cutover compare --legacy http://127.0.0.1:9001 --candidate http://127.0.0.1:9002 --secret-file jwt
  cutover compare --legacy https://old --candidate https://new --tokens users.txt --for 10m`;

const DATA = 'report.json';
const TEXT = 'report.md';
/** Beside the reports: what the proxy of the run logged as an error. */
const LOG = 'proxy.log';
/** Who ends a whole group, as systemd and `timeout` do, sends it to us and to a script that hands it on: one order. */
const ONE_ORDER_MS = 2_000;
/** A day of comparison is what a migration stage takes; tokens are to outlive it. */
const TOKEN_S = 7 * 24 * 3600;

interface CompareWords {
  readonly legacy: URL;
  readonly candidate: URL;
  readonly secretFile?: string;
  readonly tokens?: string;
  readonly scenario: Scenario;
  readonly users: number;
  readonly for: number;
  readonly out: string;
  readonly json?: boolean;
}

export function compareCommand(): Command {
  return new Command('compare')
    .description('tell whether two running services answer their users alike')
    .requiredOption('--legacy <url>', 'the service that is to be replaced', address)
    .requiredOption('--candidate <url>', 'the service that is to replace it', address)
    .option('--secret-file <file>', "HS256 secret that the users' tokens are signed with")
    .addOption(
      new Option('--tokens <file>', 'one token a line, one user each').conflicts('secretFile'),
    )
    .addOption(
      new Option('--scenario <name>', 'what users do')
        .choices(Object.keys(SCENARIOS))
        .default('golden-path'),
    )
    .option('--users <n>', 'how many, at most one for each token', wholeNumber, 100)
    .addOption(
      new Option('--for <time>', 'how long users come and go (10s, 2m)')
        .argParser(duration)
        .default(60_000, '60s'),
    )
    .option(
      '--out <folder>',
      'where report.json and report.md are written, and proxy.log if the proxy has errors to tell',
      '.',
    )
    .option('--json', 'print the report as JSON')
    .addHelpText('after', HELP)
    .action(compare);
}

/**
 * The exit code is set before anything is printed: it holds where nobody reads that. What was found is told by
 * whatever is left to tell it by: a run of hours is not for nothing because a disk is full at its end.
 */
async function compare(words: CompareWords): Promise<void> {
  const { legacy, candidate, scenario, users, for: forMs, out, json = false } = words;
  const tokens = await tokensOf(words);
  await prepare(out);
  const stop = stopBySignal();
  if (!json) {
    const people = Math.min(users, tokens.length);
    process.stderr.write(`${people} users for ${forMs / 1_000} s, then the books are closed …\n`);
  }
  // What is about the services is in the report.
  const log = new LogFile(path.join(out, LOG));
  const report = await runComparison({
    ...{ legacy, candidate, scenario, forMs, tokens, stop, env: process.env },
    logger: pino({ level: 'error' }, log),
  });
  if (log.lines > 0)
    process.stderr.write(`${log.file} has what the proxy logged: ${log.lines} lines\n`);
  if (log.lost > 0)
    process.stderr.write(`${log.file} can not be written: ${log.lost} lines are lost\n`);
  const text = reportText(report);
  const data = `${JSON.stringify(report, null, 2)}\n`;
  process.exitCode = report.exitCode;
  try {
    await keep(path.join(out, DATA), data);
    await keep(path.join(out, TEXT), text);
  } catch (error) {
    process.stderr.write(`${notWritable(out, error)}\n`);
  }
  process.stdout.write(json ? data : text);
}

/** A later signal ends the process, as it would without us. */
function stopBySignal(): AbortSignal {
  const stop = new AbortController();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const onSignal = () => {
    if (stop.signal.aborted) return;
    stop.abort();
    setTimeout(() => {
      for (const signal of signals) process.off(signal, onSignal);
    }, ONE_ORDER_MS).unref();
    process.stderr.write('stopped: the report is next; another signal ends it without one\n');
  };
  for (const signal of signals) process.on(signal, onSignal);
  return stop.signal;
}

/** Throws before the run what would be thrown after it. What reports of before say stays until then. */
async function prepare(out: string): Promise<void> {
  try {
    await mkdir(out, { recursive: true });
    for (const file of [DATA, TEXT].map(name => path.join(out, name))) {
      const there = await stat(file).catch(() => null);
      if (there?.isDirectory()) throw Object.assign(new Error(file), { code: 'EISDIR' });
      await writeFile(draftOf(file), '');
      await rm(draftOf(file));
    }
  } catch (error) {
    throw new CutoverError('conflict', notWritable(out, error));
  }
}

/** Whole or not at all: whoever finds a report may take it for one, however the run has ended. */
async function keep(file: string, text: string): Promise<void> {
  try {
    await writeFile(draftOf(file), text);
    await rename(draftOf(file), file);
  } catch (error) {
    // What keeps it from being removed is what is told of.
    await rm(draftOf(file), { force: true }).catch(() => undefined);
    throw error;
  }
}

const draftOf = (file: string): string => `${file}.new`;

function notWritable(out: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return `--out ${out} can not be written: ${code ?? message}`;
}

/** Made by the first line that is written; a run of which all is well leaves none. */
class LogFile {
  readonly file: string;
  lines = 0;
  lost = 0;

  constructor(file: string) {
    this.file = file;
  }

  /** Never throws: whoever logs is in the midst of his work. */
  write(text: string): void {
    try {
      appendFileSync(this.file, text);
      this.lines += 1;
    } catch {
      this.lost += 1;
    }
  }
}

async function tokensOf({ secretFile, tokens, users }: CompareWords): Promise<string[]> {
  if (tokens !== undefined) {
    const lines = (await read(tokens)).split('\n').map(line => line.trim());
    const all = lines.filter(line => line !== '');
    const bad = lines.findIndex(line => /\s/.test(line));
    if (bad >= 0) throw new CutoverError('conflict', `${tokens}:${bad + 1}: no token; one a line`);
    if (all.length === 0) throw new CutoverError('conflict', `${tokens} holds no token`);
    return all.slice(0, users);
  }
  if (secretFile === undefined) {
    throw new CutoverError('conflict', 'users need credentials: --secret-file or --tokens');
  }
  const secret = (await read(secretFile)).trim();
  if (secret === '') throw new CutoverError('conflict', `${secretFile} is empty`);
  const ids = Array.from({ length: users }, (_, i) => `user_${1001 + i}`);
  return Promise.all(ids.map(id => mintToken(secret, id, { expiresInS: TOKEN_S })));
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CutoverError('conflict', `${file} can not be read: ${why}`);
  }
}

function address(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw new InvalidArgumentError('It takes an address such as http://127.0.0.1:9001.');
}
