import { expect, test } from 'vitest';
import { createLogger } from '../../src/control/logger.ts';
import { CutoverError } from '../../src/errors.ts';

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEifQ.c2lnbmF0dXJl';

function capture(level: Parameters<typeof createLogger>[0] = 'info') {
  const lines: string[] = [];
  return { lines, log: createLogger(level, { write: line => void lines.push(line) }) };
}

test('fields that hold credentials or requests are blanked out, at the top and one level down', () => {
  const { lines, log } = capture();
  log.info({ token: 'a-secret', request: { headers: { cookie: 'a-secret' }, url: '/a-secret' } });
  log.info({ authorization: 'a-secret', peer: { authorization: 'a-secret', secret: 'a-secret' } });
  expect(lines.join('')).not.toContain('a-secret');
  expect(lines).toHaveLength(2);
});

test('an error is told by name, code, message, frames and cause, and by nothing that it carries', () => {
  const { lines, log } = capture();
  const cause = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:9001'), {
    code: 'ECONNREFUSED',
    rawPacket: Buffer.from('a-secret'),
    request: { headers: ['a-secret'] },
  });
  log.error({ err: new CutoverError('upstream-unreachable', undefined, { cause }) }, 'failed');
  const [line = ''] = lines;
  expect(JSON.parse(line)).toMatchObject({
    level: 'error',
    msg: 'failed',
    err: {
      type: 'CutoverError',
      code: 'upstream-unreachable',
      cause: { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED 127.0.0.1:9001' },
    },
  });
  expect(line).toContain('logger.test.ts');
  expect(line).not.toContain('a-secret');
});

test.each([
  ['a JWT', new Error(`bad token ${JWT}`)],
  ['a JWT without its end', new Error(`bad token ${JWT.slice(0, 40)}`)],
  ['a bearer credential', new Error('header Authorization: Bearer eyJsecret/part+x==')],
  ['the text that JSON.parse quotes', syntaxError('eyJ secret { user: "eyJ"')],
])('an error message with %s is logged without it', (_what, error) => {
  const { lines, log } = capture();
  log.error({ err: error });
  log.error(error);
  for (const line of lines) {
    expect(line).not.toContain('eyJ');
    expect(JSON.parse(line).level).toBe('error');
  }
});

test('causes that never end, and what is thrown without being an error, make one short line', () => {
  const { lines, log } = capture();
  const endless = new Error('endless');
  endless.cause = endless;
  log.error({ err: endless });
  log.error({ err: 'just eyJtext' });
  expect(lines.join('').length).toBeLessThan(10_000);
  expect(lines[1]).not.toContain('eyJtext');
});

test('lines below the configured level are not written', () => {
  const { lines, log } = capture('warn');
  log.info('quiet');
  log.warn('loud');
  expect(lines).toHaveLength(1);
});

function syntaxError(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return error;
  }
}
