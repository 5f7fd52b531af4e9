// What is wrong with a configuration, and where.
import { CutoverError } from '../errors.ts';

/** More than anybody repairs in one go; a file of garbage must not fill the log. */
const SHOWN = 50;
const PLAIN_KEY = /^[A-Za-z_][\w-]{0,59}$/;

/** Steps from the top of the file to a value. */
export type Path = readonly PropertyKey[];

export interface Problem {
  /** The file as it was named by whoever asked. */
  readonly file: string;
  /** From 1; the first place of the file if there is no better one. */
  readonly line: number;
  readonly column: number;
  /** `routes[0].protocol`; empty if the problem is the file's own. */
  readonly field: string;
  /** What is wrong and what would be right. Never the value of a secret or of the environment. */
  readonly message: string;
}

/** A configuration that can not be used, with every problem that was found. Code `invalid-config`. */
export class ConfigError extends CutoverError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const lines = problems.slice(0, SHOWN).map(problemText);
    if (problems.length > SHOWN) lines.push(`and ${problems.length - SHOWN} more problems`);
    const field = problems[0]?.field;
    super('invalid-config', lines.join('\n'), field ? { field } : {});
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** `cutover.yaml:12:7 routes[0].protocol: must be …`, the form that editors and terminals link. */
export function problemText({ file, line, column, field, message }: Problem): string {
  return `${file}:${line}:${column}${field === '' ? '' : ` ${field}`}: ${message}`;
}

/** `routes[0].path`; keys that are no plain words are quoted, and cut where they are long. */
export function fieldName(path: Path): string {
  let name = '';
  for (const step of path) {
    if (typeof step === 'number') name += `[${step}]`;
    else if (PLAIN_KEY.test(String(step))) name += `${name === '' ? '' : '.'}${String(step)}`;
    else name += `[${quoted(String(step))}]`;
  }
  return name;
}

/** Text of the file inside a message: on one line, printable, at most 60 characters. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text);
}
