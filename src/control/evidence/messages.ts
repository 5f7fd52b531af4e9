// What the main thread and the evidence thread say to each other.
import type { MessagePort } from 'node:worker_threads';
import type { RedactionRules } from '../../rules/redaction.ts';
import type { EvidenceLimits, EvidenceReport } from './kept.ts';
import type { EvidenceQueries } from './queries.ts';

/** What of the configuration concerns evidence; plain data. */
export interface EvidenceSettings {
  readonly limits: EvidenceLimits;
  /** By route: pointers to what is redacted beyond the defaults, and what they are read through. */
  readonly redact: Readonly<Record<string, Omit<RedactionRules, 'hash'>>>;
}

export interface EvidenceThreadData {
  readonly file: string;
  readonly key: Uint8Array;
  readonly settings: EvidenceSettings;
}

export type ToEvidence =
  /** Batches come by this port; each is answered when it is dealt with. */
  | { readonly kind: 'line'; readonly port: MessagePort }
  | { readonly kind: 'settings'; readonly settings: EvidenceSettings }
  | {
      readonly kind: 'ask';
      readonly id: number;
      readonly name: keyof EvidenceQueries;
      readonly question: unknown;
    }
  | { readonly kind: 'close' };

export type FromEvidence =
  | { readonly kind: 'report'; readonly report: EvidenceReport }
  /** A batch could not be dealt with. */
  | { readonly kind: 'fault'; readonly error: unknown }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly message: string };
