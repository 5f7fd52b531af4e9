import { ContaminationWatch } from '../../src/judge/contamination-watch.ts';
import { SECRET_BYTES } from '../../src/rules/isolation/secret-hash.ts';

/** A watch that tells nobody. */
export function unwatched(): ContaminationWatch {
  return new ContaminationWatch({
    ...{ secret: new Uint8Array(SECRET_BYTES), markers: [], windowMs: 5_000, now: () => 0 },
    ...{ onContamination: () => undefined, onHeld: () => undefined },
  });
}
