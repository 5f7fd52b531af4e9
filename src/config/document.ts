// A configuration file as YAML: its value with the environment's variables put in, and for every
// field the line and column where it stands.
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from 'yaml';
import { type Environment, substitute } from './environment.ts';
import { fieldName, type Path, type Problem } from './problem.ts';

/** A configuration has four or five levels; the rest is for mistakes. Walks below recurse. */
const MAX_DEPTH = 32;
/** Anchors are rarely worth having here; this many still unfold to nothing large. */
const MAX_ALIASES = 100;

/** The library's own messages quote the file, and with it whatever secret stands there. */
const SYNTAX: Partial<Record<YAMLError['code'], string>> = {
  DUPLICATE_KEY: 'this key stands twice in one mapping; keep one of them',
  TAB_AS_INDENT: 'a tab is not allowed as indentation; use spaces',
  BAD_INDENT: 'the indentation does not fit the lines around it',
  MULTIPLE_DOCS: 'a second document begins here (---); a configuration is one document',
  MISSING_CHAR:
    'a character is missing here: a closing quote or bracket, a comma, or a space after : or -',
  BAD_ALIAS: 'this alias (*name) is not well-formed, or nothing above it has the anchor &name',
  TAG_RESOLVE_FAILED: 'this tag (!name) is not known; plain YAML values are enough here',
  NON_STRING_KEY: 'a key must be a string',
  RESOURCE_EXHAUSTION: 'this is nested too deeply, or too large',
};

const NO_YAML =
  'this is not valid YAML; look at quotes, brackets and indentation (inside { } or [ ] a variable must be in quotes)';

export interface ConfigDocument {
  /** Plain value; undefined if the text is no usable YAML. */
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** A problem at a value, or (`onKey`) at the key in front of it. */
  problem(path: Path, message: string, onKey?: boolean): Problem;
  /** What the environment had to do with the value there. */
  origin(path: Path): 'file' | 'variable' | 'mixed';
}

/** Reads `text`. Never throws; `file` is only for messages. */
export function readDocument(text: string, file: string, env: Environment): ConfigDocument {
  const lines = new LineCounter();
  const doc = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    version: '1.2',
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const origins = new Map<Node, 'variable' | 'mixed'>();
  const problem = (path: Path, message: string, onKey = false): Problem => ({
    ...at(find(doc, path)[onKey ? 'keyOffset' : 'offset']),
    field: fieldName(path),
    message,
  });
  const result = (problems: readonly Problem[], value?: unknown): ConfigDocument => ({
    value,
    problems,
    problem,
    origin(path) {
      const { node } = find(doc, path);
      return (node && origins.get(node)) ?? 'file';
    },
  });

  // A key that stands twice leaves the rest readable, so that all other problems can be told too.
  // After any other fault the parser has lost its way, and what it says further on is noise.
  const faults = [...doc.errors, ...doc.warnings];
  const fatal = faults.find(({ code }) => code !== 'DUPLICATE_KEY');
  const problems = (fatal ? [fatal] : faults).map(({ code, pos }) => ({
    ...at(pos[0]),
    field: '',
    message: SYNTAX[code] ?? NO_YAML,
  }));
  if (fatal) return result(problems);

  let aliases = 0;
  let tooMuch = false;
  const refuse = (path: Path, message: string) => {
    if (!tooMuch) problems.push(problem(path, message));
    tooMuch = true;
  };
  const walk = (node: unknown, path: Path): void => {
    if (tooMuch) return;
    if (path.length > MAX_DEPTH) {
      refuse(path, `is nested deeper than ${MAX_DEPTH} levels`);
    } else if (isMap(node)) {
      for (const { key, value } of node.items) walk(value, [...path, keyText(key)]);
    } else if (isSeq(node)) {
      for (const [i, item] of node.items.entries()) walk(item, [...path, i]);
    } else if (isAlias(node)) {
      aliases++;
      if (aliases > MAX_ALIASES) refuse(path, `is one alias too many; ${MAX_ALIASES} are allowed`);
      else if (node.resolve(doc) === undefined) refuse(path, SYNTAX.BAD_ALIAS ?? '');
    } else if (isScalar(node) && typeof node.value === 'string') {
      const { text, whole, used, problems: sentences } = substitute(node.value, env);
      node.value = text;
      if (used) origins.set(node, whole ? 'variable' : 'mixed');
      for (const sentence of sentences) problems.push(problem(path, sentence));
    }
  };
  walk(doc.contents, []);
  if (tooMuch) return result(problems);
  try {
    return result(problems, doc.toJS({ maxAliasCount: MAX_ALIASES }));
  } catch (cause) {
    if (!(cause instanceof ReferenceError)) throw cause;
    return result([...problems, problem([], 'aliases (*name) unfold to too much')]);
  }
}

interface Place {
  /** The value there; undefined if the way to it ends earlier. */
  readonly node: Node | undefined;
  /** Where the value begins, or as much of the way to it as there is. */
  readonly offset: number;
  /** Where the key in front of it begins. */
  readonly keyOffset: number;
}

function find(doc: Document, path: Path): Place {
  let node: unknown = doc.contents;
  let offset = startOf(node) ?? 0;
  let keyOffset = offset;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(doc);
    let key: unknown;
    if (isMap(node)) {
      const pair = node.items.find(item => keyText(item.key) === step);
      key = pair?.key;
      node = pair?.value ?? undefined;
    } else {
      node = isSeq(node) && typeof step === 'number' ? node.items[step] : undefined;
      key = node;
    }
    keyOffset = startOf(key) ?? offset;
    offset = startOf(node) ?? keyOffset;
    if (node === undefined) break;
  }
  if (isAlias(node)) node = node.resolve(doc);
  return { node: isNode(node) ? node : undefined, offset, keyOffset };
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function keyText(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}
