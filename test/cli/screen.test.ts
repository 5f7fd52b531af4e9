// A terminal as the view sees it: what is written to it, and that it is given back.
import { EventEmitter } from 'node:events';
import type { ReadStream, WriteStream } from 'node:tty';
import { afterEach, expect, test } from 'vitest';
import { Screen } from '../../src/cli/screen.ts';

const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const open: Screen[] = [];
afterEach(() => {
  for (const screen of open.splice(0)) screen.close();
});

function terminal({ columns = 20, rows = 3, isTTY = true } = {}) {
  const written: string[] = [];
  const modes: boolean[] = [];
  const output = Object.assign(new EventEmitter(), {
    ...{ columns, rows, isTTY, writable: true },
    write: (text: string) => written.push(text),
  });
  const input = Object.assign(new EventEmitter(), {
    ...{ isTTY, setRawMode: (on: boolean) => modes.push(on) },
    ...{ resume: () => undefined, pause: () => undefined },
  });
  const screen = new Screen(output as unknown as WriteStream, input as unknown as ReadStream);
  open.push(screen);
  return { screen, output, input, written, modes };
}

test('it takes the alternate screen and raw keys, and gives both back once', () => {
  const { screen, written, modes } = terminal();
  screen.close();
  screen.close();
  expect(written).toEqual([ENTER, LEAVE]);
  expect(modes).toEqual([true, false]);
  screen.draw([{ text: 'late' }]);
  expect(written).toHaveLength(2);
});

test('lines are cut to its size, and none scrolls the first one away', () => {
  const { screen, written } = terminal({ columns: 5, rows: 2 });
  screen.draw([{ text: 'abcdefgh' }, { text: '👩👩👩👩👩👩' }, { text: 'hidden' }]);
  expect(written.at(-1)).toBe('\x1b[Habcde\x1b[K\r\n👩👩👩👩👩\x1b[K\x1b[J');
});

test('it is drawn anew when its size changes', () => {
  const { screen, output, written } = terminal({ columns: 5 });
  screen.draw([{ text: 'abcdefgh' }]);
  output.columns = 7;
  output.emit('resize');
  expect(written.at(-1)).toBe('\x1b[Habcdefg\x1b[K\x1b[J');
});

test.each([['q'], ['Q'], ['\x03'], ['\x1b[Aq']])('%j leaves', keys => {
  const { screen, input } = terminal();
  input.emit('data', Buffer.from('x'));
  expect(screen.left.aborted).toBe(false);
  input.emit('data', Buffer.from(keys));
  expect(screen.left.aborted).toBe(true);
});

test('signals leave while it is open, and are whoever’s they were after that', () => {
  const before = process.listenerCount('SIGTERM');
  const { screen } = terminal({ isTTY: false });
  process.emit('SIGTERM');
  expect(screen.left.aborted).toBe(true);
  screen.close();
  expect(process.listenerCount('SIGTERM')).toBe(before);
});

test('without keys to read it works all the same', () => {
  const { screen, modes, written } = terminal({ isTTY: false });
  screen.draw([{ text: 'hi' }]);
  screen.close();
  expect(modes).toEqual([]);
  expect(written.at(-1)).toBe(LEAVE);
});
