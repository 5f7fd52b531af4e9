// The part of the operator's API that is about the books of one session.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { CutoverError } from '../errors.ts';
import { type BooksView, booksView } from './books-view.ts';
import type { ProxyView } from './proxy-view.ts';

export interface SessionBooks {
  readonly session: string;
  /** Since its comparison began; `pending` waits for its pair. */
  readonly books: BooksView;
}

const BooksQuery = z.strictObject({ session: z.string().min(1).max(100) });

export function booksRoutes(api: FastifyInstance, { judge }: Pick<ProxyView, 'judge'>): void {
  api.get('/books', async (request): Promise<SessionBooks> => {
    const { session } = BooksQuery.parse(request.query);
    const books = await judge.booksOf(session);
    if (books !== null) return { session, books: booksView(books) };
    // It knows nobody then, whoever is open.
    if (!judge.running) throw new CutoverError('conflict', 'the judge begins anew; ask again');
    const message =
      'no session or event stream with this id is open and compared; the books of one that has ended are in those of its route';
    throw new CutoverError('not-found', message, { field: 'session' });
  });
}
