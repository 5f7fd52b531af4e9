import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readDocument } from '../../src/config/document.ts';
import { substitute } from '../../src/config/environment.ts';
import { problemText } from '../../src/config/problem.ts';

const said = (text: string, env = {}) =>
  readDocument(text, 'c.yaml', env).problems.map(problemText).join('\n');

describe('variables', () => {
  test('a variable is replaced by its text, inside other text too', () => {
    const env = { HOST: 'a.example', PORT: '1' };
    expect(substitute(`http://\${HOST}:\${PORT}/`, env).text).toBe('http://a.example:1/');
  });

  test('a default stands in for a variable that is not set, or set to nothing', () => {
    expect(substitute(`\${A:-x:-y}`, {}).text).toBe('x:-y');
    expect(substitute(`\${A:-x}`, { A: '' }).text).toBe('x');
    expect(substitute(`\${A:-x}`, { A: 'a' }).text).toBe('a');
    expect(substitute(`\${A:-}`, {}).text).toBe('');
  });

  test('$${ stands for the characters themselves', () => {
    expect(substitute(`$\${A} and \${A}`, { A: 'a' }).text).toBe(`\${A} and a`);
  });

  test('what an object inherits is no variable', () => {
    expect(substitute(`\${constructor}`, {}).problems).toHaveLength(1);
  });

  test('a ${ that starts no variable is a problem', () => {
    expect(said(`a: 'x \${1}'`)).toMatch(/^c\.yaml:1:4 a: has a \$\{ that starts no variable/);
  });

  test('a missing variable is told with its place and name', () => {
    expect(said(`a:\n  b:\n    - x\n    - \${NOPE}`)).toBe(
      `c.yaml:4:7 a.b[1]: the environment variable NOPE is not set; set it, or give a default: \${NOPE:-…}`,
    );
  });

  test('no text of the environment is ever read as YAML or as another variable', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        const { value, problems } = readDocument(`a: \${A}\nb: "<\${A}>"`, 'c.yaml', {
          A: text,
          B: 'b',
        });
        expect(problems).toEqual([]);
        expect(value).toEqual({ a: text, b: `<${text}>` });
      }),
    );
  });
});

describe('YAML', () => {
  test('a syntax error is told with its place, in words that quote nothing of the file', () => {
    for (const text of [
      'a: "hunter2',
      'a: [hunter2',
      '\thunter2: 1',
      'a: !hunter2 b',
      'hunter2: {',
    ]) {
      expect(said(text)).toMatch(/^c\.yaml:\d+:\d+: /);
      expect(said(text)).not.toContain('hunter2');
    }
  });

  test('a key that stands twice is a problem at its second place, and the rest is read', () => {
    const { problems, value } = readDocument('a: 1\nb: 2\na: 3', 'c.yaml', {});
    expect(problems.map(problemText)).toEqual([
      'c.yaml:3:1: this key stands twice in one mapping; keep one of them',
    ]);
    expect(value).toBeDefined();
  });

  test('an alias may repeat a value; a bomb of aliases is refused', () => {
    expect(readDocument('a: &x 5\nb: *x', 'c.yaml', {}).value).toEqual({ a: 5, b: 5 });
    let bomb = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n';
    for (let i = 1; i < 10; i++) bomb += `a${i}: &a${i} [${`*a${i - 1},`.repeat(10)}]\n`;
    expect(said(bomb)).toMatch(/aliases/);
    expect(said(`a: &x 1\nb: [${'*x,'.repeat(200)}]`)).toMatch(/alias too many/);
    expect(said('a: *x')).toMatch(/has the anchor/);
  });

  test('brackets nested without end are refused, not followed', () => {
    expect(said(`a: ${'['.repeat(40)}${']'.repeat(40)}`)).toMatch(/deeper than 32/);
    expect(said('['.repeat(20_000))).toMatch(/too deeply/);
  });

  test('whatever the text is, reading it ends with a value or a problem', () => {
    const yamlish = fc.string({
      unit: fc.constantFrom(...'ab:-[]{}"\'&*!|>#%@?,\n \t$'.split('')),
    });
    fc.assert(
      fc.property(yamlish, text => {
        const { value, problems } = readDocument(text, 'c.yaml', {});
        expect(value !== undefined || problems.length > 0).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });
});
