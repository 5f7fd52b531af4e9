// Second writes that have no answer yet, by the connection that they came on and the user whom they are about:
// what is read there meanwhile may lack them at the second service.
import type { Subject } from '../rules/decide.ts';
import type { ClientLink } from './affinity.ts';

/** Holds no more than there are writes under way (`double-write.ts`). */
export class SecondWrites {
  readonly #underWay = new Map<ClientLink | string, number>();

  /** One begins. Call what is returned once, when it has its answer or will get none. */
  begin(link: ClientLink, subject: Subject | null): () => void {
    const keys = keysOf(link, subject);
    for (const key of keys) this.#underWay.set(key, (this.#underWay.get(key) ?? 0) + 1);
    return () => {
      for (const key of keys) {
        const left = (this.#underWay.get(key) ?? 0) - 1;
        if (left > 0) this.#underWay.set(key, left);
        else this.#underWay.delete(key);
      }
    };
  }

  /** Would a request of his, on that connection, overtake one? */
  isAhead(link: ClientLink, subject: Subject | null): boolean {
    return this.#underWay.size > 0 && keysOf(link, subject).some(key => this.#underWay.has(key));
  }
}

const keysOf = (link: ClientLink, subject: Subject | null): readonly (ClientLink | string)[] =>
  subject === null ? [link] : [link, subject.id];
