// `${NAME}` and `${NAME:-default}` inside the configuration's texts. It works on values that have
// been parsed, so whatever stands in the environment stays one text and can not become YAML.

const VARIABLE = /\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{/g;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Substituted {
  readonly text: string;
  /** The text held nothing but one variable: it may stand for a number or a boolean. */
  readonly whole: boolean;
  /** Something of the environment or of a default is in it. */
  readonly used: boolean;
  /** Sentences about what could not be replaced. */
  readonly problems: readonly string[];
}

/** Replaces variables. As in a shell, `:-` also covers a variable that is set but empty. */
export function substitute(source: string, env: Environment): Substituted {
  const problems: string[] = [];
  let used = false;
  const text = source.replaceAll(VARIABLE, (found, name?: string, fallback?: string) => {
    if (found === '$${') return '${';
    if (name === undefined) {
      problems.push(
        `has a \${ that starts no variable; write \${NAME}, \${NAME:-default}, or $\${ for the characters themselves`,
      );
      return '';
    }
    used = true;
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value;
    if (value === undefined) {
      problems.push(
        `the environment variable ${name} is not set; set it, or give a default: \${${name}:-…}`,
      );
      return '';
    }
    return value;
  });
  const whole = used && source.match(VARIABLE)?.[0] === source;
  return { text, whole, used, problems };
}

/** A variable's text as the number or boolean that the schema asks for; undefined: it is none. */
export function coerce(text: string, to: 'number' | 'boolean'): number | boolean | undefined {
  if (to === 'boolean') return text === 'true' ? true : text === 'false' ? false : undefined;
  return /^-?\d{1,16}(\.\d{1,16})?$/.test(text) ? Number(text) : undefined;
}
