// A rollback of everything by a signal, for when there is neither admin port nor token.
import type { Logger } from 'pino';
import { CutoverError } from '../errors.ts';
import type { Rollbacks } from './rollbacks.ts';

/** Within that time a second signal says that the first one was meant. */
const ASK_AGAIN_MS = 60_000;
const SIGNAL = 'signal SIGUSR2';

/** Call the result once a signal. Routes whose legacy is stale have to be asked for twice. Never rejects. */
export function rollbackBySignal(
  rollbacks: Pick<Rollbacks, 'rollback'>,
  logger: Logger,
): () => Promise<void> {
  let refusedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const acceptStale = performance.now() - refusedAt < ASK_AGAIN_MS;
    try {
      const { stale } = await rollbacks.rollback({ reason: SIGNAL, by: SIGNAL, acceptStale });
      if (stale.length === 0) return;
      refusedAt = performance.now();
      logger.error(
        { stale },
        'a signal left these routes where they are; send it again to take them',
      );
    } catch (error) {
      if (error instanceof CutoverError) refusedAt = performance.now();
      logger.error({ err: error }, 'a rollback by signal was refused');
    }
  };
}
