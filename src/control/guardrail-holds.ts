// Which guardrails hold a route where it is: `state/holds.json`, so that no restart and no other version lets
// somebody forward whom they refused.
import type { Logger } from 'pino';
import { z } from 'zod';
import { GUARDRAIL_NAMES, type Reading } from '../rules/guardrails.ts';
import { HeldFile } from './held-file.ts';

const FILE = 'holds.json';

const Kept = z.record(
  z.string(),
  z.array(
    z.object({
      rule: z.enum(GUARDRAIL_NAMES),
      action: z.literal('hold'),
      state: z.literal('exceeded'),
      value: z.number().nullable(),
      legacy: z.number().nullable(),
      limit: z.number(),
      of: z.number(),
    }),
  ),
);

export class GuardrailHolds {
  readonly #logger: Logger;
  readonly #file: HeldFile;
  /** As they fired, by route; of those that hold none there is nothing. */
  readonly #readings = new Map<string, readonly Reading[]>();

  constructor(logger: Logger) {
    this.#logger = logger;
    this.#file = new HeldFile({
      file: FILE,
      text: () => `${JSON.stringify(Object.fromEntries(this.#readings))}\n`,
      onFailure: error =>
        logger.error({ err: error }, 'a restart will not know what a guardrail holds'),
    });
  }

  /** From now on they are kept in that folder, beside those that are there. Never rejects: what can not be read holds nothing. */
  async keepIn(folder: string): Promise<void> {
    try {
      const text = await this.#file.keepIn(folder);
      if (text === null) return;
      for (const [route, there] of Object.entries(Kept.parse(JSON.parse(text)))) {
        const known = this.of(route);
        const isNew = ({ rule }: Reading) => !known.some(reading => reading.rule === rule);
        this.#readings.set(route, [...known, ...there.filter(isNew)]);
      }
    } catch (error) {
      this.#logger.error({ err: error, file: FILE }, 'it is not known what guardrails held');
    }
  }

  /** Another process may write there now. */
  letGo(): void {
    this.#file.letGo();
  }

  of(route: string): readonly Reading[] {
    return this.#readings.get(route) ?? [];
  }

  /** Those and no others hold the route now; written where that is a change. */
  set(route: string, readings: readonly Reading[]): void {
    const rules = (of: readonly Reading[]) => of.map(({ rule }) => rule).join();
    if (rules(readings) === rules(this.of(route))) return;
    if (readings.length === 0) this.#readings.delete(route);
    else this.#readings.set(route, readings);
    void this.#file.write();
  }
}
