// Measures how often legacy differs from itself, on the routes for which somebody asked, beside what the
// candidate differs in meanwhile. Books and evidence know nothing of it.
import type { NoiseAsked } from '../ports.ts';
import { type CompiledRules, compileRules } from '../rules/compare/compile.ts';
import { type Measured, type NoiseCounts, NoiseTally } from '../rules/noise-tally.ts';
import type { Finding } from '../rules/verdict.ts';

interface Measuring {
  readonly rules: CompiledRules;
  readonly tally: NoiseTally;
}

export class NoiseMeter {
  readonly #routes = new Map<string, Measuring>();

  /** From nothing on; null ends it, and forgets what was counted. */
  measure(route: string, asked: NoiseAsked | null): void {
    if (asked === null) this.#routes.delete(route);
    else {
      const tally = new NoiseTally(asked.redact, asked.rules.envelopes);
      this.#routes.set(route, { rules: compileRules(asked.rules), tally });
    }
  }

  /** The rules by which legacy is compared with itself: without a profile. Null while nobody asks. */
  rulesOf(route: string): CompiledRules | null {
    return this.#routes.get(route)?.rules ?? null;
  }

  add(measured: Measured, finding: Finding, isAnswer: boolean): void {
    this.#routes.get(finding.route)?.tally.add(measured, finding, isAnswer);
  }

  counts(route: string): NoiseCounts | null {
    return this.#routes.get(route)?.tally.counts ?? null;
  }
}
