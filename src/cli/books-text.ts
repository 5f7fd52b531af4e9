// The books of a comparison as people read them.
import type { BooksView, SideView } from '../control/books-view.ts';
import { SIDES } from '../rules/decide.ts';
import { VERDICTS, type Verdict } from '../rules/verdict.ts';
import { paint } from './output.ts';

/** Shown where there are any; the reasons of what is unjudged are told with it. */
const COUNTED = [
  ...Object.keys(VERDICTS).filter(verdict => verdict !== 'match' && verdict !== 'unjudged'),
  'pending',
] as (Exclude<Verdict, 'match' | 'unjudged'> | 'pending')[];

/** A line for each service that adds up to what was seen of it. */
export function booksTexts(books: BooksView): string[] {
  const { imbalance } = books;
  return [
    ...SIDES.map(side => `${side} ${sideText(books[side])}`),
    ...(imbalance === null ? [] : [paint('red', `does not add up: ${imbalance}`)]),
  ];
}

function sideText(books: SideView): string {
  const { seen, match, unjudged, latencyMs } = books;
  return [
    `${seen} seen, ${match} match`,
    ...COUNTED.filter(what => books[what] > 0).map(what => `${books[what]} ${what}`),
    ...(unjudged > 0 ? [`${unjudged} unjudged (${causesText(books.because)})`] : []),
    ...(latencyMs === null
      ? []
      : [`p50 ${latencyMs.p50.toFixed(1)} ms, p99 ${latencyMs.p99.toFixed(1)} ms`]),
  ].join(', ');
}

/** The most frequent first. */
export function causesText(causes: Readonly<Record<string, number>>): string {
  const found = Object.entries(causes).toSorted(([, a], [, b]) => b - a);
  return found.map(([cause, count]) => `${cause} ${count}`).join(', ');
}
