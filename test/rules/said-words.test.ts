// What clients have said of late, and what more of it than is kept means.
import { expect, test } from 'vitest';
import { SaidWords } from '../../src/rules/isolation/said-words.ts';
import { wordsOf } from '../../src/rules/words.ts';

const [ANN, BOB] = [1, 2];

test.each([
  ['run1', 'cancel run1, please'],
  ['a.b@example.com', 'mail to:<A.B@Example.com>.'],
  ['auth0|42', '{"to":"auth0|42"}'],
  ['two words', 'words, and then two'],
  ['döra', '/invite/d%C3%B6ra?x'],
  ['döra', '{"to":"d\\u00f6ra"}'],
  ['x', '{"text":"{\\"userId\\":\\"x\\"}"}'],
  ['-7', 'n=-7&m'],
])('%s is said by %s', (name, text) => {
  const said = new SaidWords();
  said.note(ANN, [], text, 0);
  expect(said.isHis(ANN, name, 0)).toBe(true);
  expect(said.isHis(BOB, name, 0)).toBe(false);
  expect(said.mayBeSaid(BOB, name, 0)).toBe(true);
  expect(said.isAnothers(BOB, name, 0)).toBe(true);
  expect(said.isAnothers(ANN, name, 0)).toBe(false);
});

test('a part of a word is not said, nor a name of which one word is missing', () => {
  const said = new SaidWords();
  said.note(ANN, [], 'run10 user_1 two', 0);
  for (const name of ['run1', 'user', 'two words']) {
    expect(said.mayBeSaid(BOB, name, 0), name).toBe(false);
  }
});

test('it is remembered for 30 s at least, and 60 at most', () => {
  const said = new SaidWords();
  said.note(ANN, [], 'first', 0);
  said.note(ANN, [], 'run1', 29_999);
  expect(said.mayBeSaid(BOB, 'run1', 59_998)).toBe(true);
  expect(said.isHis(ANN, 'run1', 59_998)).toBe(true);
  expect(said.mayBeSaid(BOB, 'run1', 90_000)).toBe(false);
  said.note(ANN, [], 'run2', 90_001);
  expect(said.mayBeSaid(BOB, 'run2', 300_000)).toBe(false);
});

test('his own names are no words of his about others', () => {
  const said = new SaidWords();
  said.note(ANN, ['ann', 'ann@example.com'], 'I am ann, ann@example.com, not bob', 0);
  expect(said.mayBeSaid(BOB, 'ann', 0)).toBe(false);
  expect(said.mayBeSaid(BOB, 'ann@example.com', 0)).toBe(false);
  expect(said.mayBeSaid(BOB, 'bob', 0)).toBe(true);
});

// One who sent 56 KB a second had all there was room for, and everybody else was told 5 s late of what he was sent.
test('however much one says, all of it is known, and nothing of what nobody said', () => {
  const said = new SaidWords();
  const words = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, n) => `w${from + n}`).join(' ');
  // For half a minute 0.1 MB a second.
  for (let from = 0; from < 400_000; from += 1_000)
    said.note(ANN, [], words(from, from + 1_000), 0);
  expect(said.isInDoubt(ANN, 0)).toBe(false);
  for (const name of ['w0', 'w200000', 'w399999']) {
    expect([said.isHis(ANN, name, 0), said.isHis(BOB, name, 0)], name).toEqual([true, false]);
    expect(said.mayBeSaid(BOB, name, 0)).toBe(true);
  }
  // Some of 10,000, by chance; each is told later and not taken for anybody's.
  const others = Array.from({ length: 10_000 }, (_, n) => `user_${n}`);
  expect(others.filter(name => said.mayBeSaid(BOB, name, 0)).length).toBeLessThan(20);
  expect(others.filter(name => said.isHis(ANN, name, 0)).length).toBeLessThan(20);
});

test('where many say a little, nobody has said what he has not', () => {
  const said = new SaidWords();
  for (let user = 10; user < 15_010; user += 1) {
    const words = Array.from({ length: 50 }, (_, n) => `w${user}_${n}`);
    said.note(user, [], words.join(' '), 0);
  }
  said.note(ANN, [], 'hello there', 0);
  expect(said.isHis(ANN, 'thread_of_bob', 0)).toBe(false);
  expect(said.isHis(15_009, 'thread_of_bob', 0)).toBe(false);
});

test("what has no word in it is nobody's", () => {
  const said = new SaidWords();
  said.note(ANN, [], '::', 0);
  expect([said.isHis(ANN, '::', 0), said.mayBeSaid(BOB, '::', 0)]).toEqual([false, false]);
});

test('what nobody can read may be anything to him who said it; of what a stranger said unheard names may come', () => {
  const said = new SaidWords();
  said.unread(ANN, 0);
  expect([said.isInDoubt(ANN, 0), said.isInDoubt(BOB, 0)]).toEqual([true, false]);
  expect(said.isInDoubt(ANN, 29_999) && said.isInDoubt(ANN, 59_998)).toBe(true);
  expect(said.mayBeSaid(ANN, 'x', 0)).toBe(true);
  expect(said.isHis(ANN, 'x', 0)).toBe(false);
  expect(said.mayBeSaid(BOB, 'x', 0)).toBe(false);
  said.unheard(0);
  expect(said.mayBeSaid(BOB, 'x', 0)).toBe(true);
  expect(said.isInDoubt(BOB, 0)).toBe(false);
});

test('where nobody knows who said what can not be read, everybody may have', () => {
  const begunAnew = new SaidWords();
  begunAnew.unreadByAll(0);
  const crowded = new SaidWords();
  for (let user = 10; user < 20_010; user += 1) crowded.unread(user, 0);
  expect(crowded.isInDoubt(BOB, 0)).toBe(false);
  crowded.unread(ANN, 0);
  for (const said of [begunAnew, crowded]) {
    expect([said.isInDoubt(BOB, 0), said.isInDoubt(BOB, 60_000)]).toEqual([true, false]);
  }
});

test('of binary data the strings are read that stand in it as they are', () => {
  const said = new SaidWords();
  // MessagePack: a map of one, a string of two letters, and one of seven.
  const packed = Buffer.concat([Buffer.of(0x81, 0xa2), Buffer.from('to'), Buffer.of(0xa7)]);
  said.note(ANN, [], Buffer.concat([packed, Buffer.from('thread1')]).toString('utf8'), 0);
  expect(said.isHis(ANN, 'thread1', 0)).toBe(true);
});

test('what nobody has said is known, but for his own names, and while all is known that users said', () => {
  const said = new SaidWords();
  const unsaid = (text: string, atMs: number, user: number | null = ANN) => {
    const words = said.unsaid(['ann'], text, atMs);
    said.note(user, ['ann'], text, atMs);
    return words;
  };
  expect(unsaid('start run1 of ann', 0)).toEqual(wordsOf('start run1 of'));
  expect(unsaid('start run2', 1, BOB)).toEqual(wordsOf('run2'));
  expect(unsaid('start run1', 30_000, null)).toEqual([]);
  said.unread(BOB, 40_000);
  expect(unsaid('start run3', 40_000)).toEqual([]);
  said.unheard(100_000);
  expect(unsaid('start run4', 100_000)).toEqual([]);
  said.unreadByAll(160_000);
  expect(unsaid('start run5', 160_000)).toEqual([]);
  expect(unsaid('start run4', 220_000)).toEqual(wordsOf('start run4'));
});
