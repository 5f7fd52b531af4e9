// What the operator's side can ask of the running proxy. `main` fills it in; health, status and the
// admin API read it.
import type { Loaded } from '../config/load.ts';
import type { Decider, JudgeView, TrafficView } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import type { Audit } from './audit.ts';
import type { Bypass } from './bypass.ts';
import type { Evidence } from './evidence/evidence.ts';
import type { FlagProvider } from './flags/provider.ts';
import type { Guardrails } from './guardrails.ts';
import type { Incidents } from './incidents.ts';
import type { NoiseMeasuring } from './noise-measuring.ts';
import type { Rollbacks } from './rollbacks.ts';
import type { WriteSplits } from './write-splits.ts';

export interface ReloadReport {
  /** Epoch ms. */
  readonly at: number;
  /** False: the file was refused and the configuration before it stays in force. */
  readonly ok: boolean;
  /** Why it was refused, a sentence each. */
  readonly problems: readonly string[];
}

export interface ProxyView {
  /** Epoch ms. */
  readonly startedAt: number;
  readonly flags: FlagProvider;
  /** The function that traffic asks. */
  readonly decide: Decider;
  /** The configuration in force, and since when (epoch ms). */
  loaded(): Loaded;
  loadedAt(): number;
  /** The last attempt to read the configuration again; null if there was none. */
  lastReload(): ReloadReport | null;
  readonly judge: JudgeView;
  /** How often legacy differs from itself. */
  readonly noise: Pick<NoiseMeasuring, 'start' | 'view'>;
  readonly bypass: Bypass;
  /** With the latch and the proofs. */
  readonly rollbacks: Rollbacks;
  readonly guardrails: Pick<Guardrails, 'of' | 'refuseForward' | 'counts'>;
  /** Events with another user's data. */
  readonly incidents: Pick<Incidents, 'last' | 'counts' | 'unkept' | 'shared'>;
  /** Where changes are put on record. */
  readonly audit: Audit;
  /** What became of writes. */
  readonly writes: WriteSplits;
  readonly evidence: Pick<Evidence, 'ask' | 'state' | 'counts'>;
  /** Why a service can not be connected to now; null if it can. */
  unreachable(side: Side): Promise<string | null>;
  /** Null before the listener is open. */
  traffic(): TrafficView | null;
  /** As `http://127.0.0.1:8080`; null while not listening. */
  addresses(): { readonly listen: string | null; readonly admin: string | null };
  /** `awaited`: another process still holds the state folder while this one takes over. */
  state(): 'held' | 'awaited';
  /** Sentences for the operator, such as limits of the machine that are too low. */
  warnings(): readonly string[];
}
