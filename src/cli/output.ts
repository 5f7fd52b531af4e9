// What commands print: JSON for programs, aligned text for people.
import { stripVTControlCharacters, styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** Prints `value` as JSON, or what `text` makes of it. */
export function print<T>(value: T, json: boolean, text: (value: T) => string): void {
  process.stdout.write(`${json ? JSON.stringify(value, null, 2) : text(value)}\n`);
}

/** Coloured on a terminal only, and not where NO_COLOR is set. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

/** Rows of cells in aligned columns, two spaces apart; without a header if `head` is empty. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const titles = head.map(title => paint('dim', title));
  const lines = [...(head.length > 0 ? [titles] : []), ...rows];
  const widths: number[] = [];
  for (const line of lines) {
    for (const [i, cell] of line.entries()) widths[i] = Math.max(widths[i] ?? 0, widthOf(cell));
  }
  return lines
    .map(line =>
      line
        .map((cell, i) => cell + ' '.repeat((widths[i] ?? 0) - widthOf(cell)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `3 d 4 h`, `5 min 10 s`, `8 s`: the two largest units. */
export function duration(seconds: number): string {
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3_600],
    ['min', 60],
    ['s', 1],
  ];
  let left = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0 && parts.length < 2) parts.push(`${count} ${unit}`);
  }
  return parts.join(' ') || '0 s';
}

/** `until 2026-05-01T12:00:00.000Z, in 59 min 3 s`; null: without end. */
export function untilText(until: string | null): string {
  if (until === null) return 'without end';
  const leftS = (Date.parse(until) - Date.now()) / 1_000;
  return `until ${until}, ${leftS > 0 ? `in ${duration(leftS)}` : 'over'}`;
}

function widthOf(cell: string): number {
  return stripVTControlCharacters(cell).length;
}

/** Names and descriptions come out of files: they must not steer the terminal. */
export function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}
