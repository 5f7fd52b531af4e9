// Measures legacy's own noise when an operator asks for it: which requests legacy is asked twice, for how
// long, and what came of it. Nothing of it is kept over a restart; the profile is the operator's to keep.

import type { RouteConfig } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';
import type { JudgeView, TwinSampling } from '../ports.ts';
import { type MeasuredProfile, profileOf } from '../rules/noise-profile.ts';

/** Of a route legacy is asked at most so many requests a second twice: what any service bears. */
const MOST_A_SECOND = 20;
const A_SECOND_MS = 1_000;

export interface NoiseAsk {
  readonly forMs: number;
  /** Of the safe requests that legacy serves, or of the sessions that open, 0 to 1. */
  readonly share: number;
  /** There is another instance of legacy, for streams. */
  readonly hasTwin: boolean;
}

export interface NoiseView extends MeasuredProfile {
  readonly route: string;
  readonly state: 'measuring' | 'done';
  /** Of the time for it, ms. */
  readonly leftMs: number;
}

interface Measurement {
  readonly share: number;
  readonly startedAt: number;
  readonly endsAt: number;
  readonly route: RouteConfig;
  readonly end: NodeJS.Timeout;
  /** Gathers `share` of every request; at 1 one is asked twice. */
  due: number;
  /** In the second that began at `secondAt`. */
  taken: number;
  secondAt: number;
  /** Once it is over. */
  result: MeasuredProfile | null;
}

export class NoiseMeasuring implements TwinSampling {
  readonly #judge: Pick<JudgeView, 'measureNoise' | 'noise'>;
  readonly #measurements = new Map<string, Measurement>();
  #open = 0;

  constructor(judge: Pick<JudgeView, 'measureNoise' | 'noise'>) {
    this.#judge = judge;
  }

  isOn(route: string): boolean {
    return this.#open > 0 && this.#measurements.get(route)?.result === null;
  }

  take(route: string): boolean {
    if (this.#open === 0) return false;
    const measurement = this.#measurements.get(route);
    if (measurement === undefined || measurement.result !== null) return false;
    measurement.due += measurement.share;
    if (measurement.due < 1) return false;
    measurement.due -= 1;
    const now = performance.now();
    if (now - measurement.secondAt >= A_SECOND_MS) {
      measurement.secondAt = now;
      measurement.taken = 0;
    }
    measurement.taken += 1;
    return measurement.taken <= MOST_A_SECOND;
  }

  /** Throws `CutoverError` where there is nothing to be measured, or something is already. */
  start(route: RouteConfig, { forMs, share, hasTwin }: NoiseAsk): void {
    const { name, protocol, compare, redact } = route;
    if (protocol !== 'http' && !hasTwin) {
      const message = `streams are measured beside a twin of legacy, and upstreams.legacyTwin names none (route ${name})`;
      throw new CutoverError('conflict', message, { field: 'route' });
    }
    if (route.noise !== undefined) {
      const message = `route ${name} has a profile in force, and what it excuses can not be told apart: take noise out of the configuration first`;
      throw new CutoverError('conflict', message, { field: 'route' });
    }
    const before = this.#measurements.get(name);
    if (before !== undefined && before.result === null) {
      const left = Math.ceil((before.endsAt - performance.now()) / 1_000);
      const message = `the noise of route ${name} is being measured, for another ${left} s`;
      throw new CutoverError('conflict', message, { field: 'route' });
    }
    const startedAt = performance.now();
    const end = setTimeout(() => void this.#end(name), forMs).unref();
    this.#measurements.set(name, {
      ...{ share, startedAt, endsAt: startedAt + forMs, route, end },
      ...{ due: 0, taken: 0, secondAt: startedAt, result: null },
    });
    this.#open += 1;
    this.#judge.measureNoise(name, { rules: compare, redact });
  }

  /** As of now; null if it was never asked for. */
  async view(route: string): Promise<NoiseView | null> {
    const measurement = this.#measurements.get(route);
    if (measurement === undefined) return null;
    const found = measurement.result ?? (await this.#found(measurement));
    const isDone = measurement.result !== null;
    const leftMs = isDone ? 0 : Math.max(0, Math.ceil(measurement.endsAt - performance.now()));
    return { ...found, route, state: isDone ? 'done' : 'measuring', leftMs };
  }

  close(): void {
    for (const { end } of this.#measurements.values()) clearTimeout(end);
  }

  async #end(route: string): Promise<void> {
    const measurement = this.#measurements.get(route);
    if (measurement === undefined) return;
    measurement.result = await this.#found(measurement);
    this.#open -= 1;
    this.#judge.measureNoise(route, null);
  }

  async #found({ route }: Measurement): Promise<MeasuredProfile> {
    const counts = (await this.#judge.noise(route.name)) ?? new Map();
    const { name, compare } = route;
    return profileOf({ route: name, rules: compare, counts, measuredAt: Date.now() });
  }
}
