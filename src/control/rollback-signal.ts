// A rollback of everything by a signal, for when there is neither admin port nor token.
import type { Logger } from 'pino';
import type { Rollbacks } from './rollbacks.ts';

/** Within that time a second signal says that the first one was meant, also one that is still on its way to the disk. */
const ASK_AGAIN_MS = 60_000;
const SIGNAL = 'signal SIGUSR2';

/** Call the result once a signal. Routes whose legacy is stale have to be asked for twice. Never rejects. */
export function rollbackBySignal(
  rollbacks: Pick<Rollbacks, 'rollback'>,
  logger: Logger,
): () => Promise<void> {
  let askedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const now = performance.now();
    const acceptStale = now - askedAt < ASK_AGAIN_MS;
    askedAt = now;
    try {
      const { stale } = await rollbacks.rollback({ reason: SIGNAL, by: SIGNAL, acceptStale });
      if (stale.length === 0) return;
      logger.error(
        { stale },
        'a signal left these routes where they are; send it again to take them',
      );
    } catch (error) {
      logger.error({ err: error }, 'a rollback by signal was refused');
    }
  };
}
