// What legacy alone sends to one user who is not compared: it says whose data is whose, and is paired with nothing.
import type { StreamFacts } from '../ports.ts';
import type { CompiledRules } from '../rules/compare/compile.ts';
import { typeOf } from '../rules/event-key.ts';
import type { ReadPiece } from './batch.ts';
import { type EventReader, eventReader } from './event-reader.ts';
import type { StreamWatch } from './stream-watch.ts';

export class OverheardStream {
  readonly #reader: EventReader;
  #time = 0;

  constructor(
    { format }: Pick<StreamFacts, 'format'>,
    rules: Pick<CompiledRules, 'planOf'>,
    watch: StreamWatch,
  ) {
    this.#reader = eventReader(format, {
      event: (decoded, payload, form) => {
        const value = 'value' in decoded ? decoded.value : undefined;
        const event = { value, plan: rules.planOf(typeOf(value)) };
        watch.arrived('legacy', payload, event, form, this.#time, 'nothing');
      },
      tooLong: owner => void watch.unread('legacy', 'too-large', owner, this.#time, 'nothing'),
      search: watch.search(),
    });
  }

  piece({ batch, start, end, afterGap, time }: ReadPiece): void {
    if (this.#reader.lost) return;
    if (afterGap) this.#reader.gap();
    this.#time = time;
    this.#reader.push(batch, start, end);
  }
}
