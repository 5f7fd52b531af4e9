// Why somebody is served by one side: the decision that traffic would get, and what it came from.
import type { RouteConfig } from '../config/schema.ts';
import type { Decider } from '../ports.ts';
import {
  type Decision,
  type FlagFacts,
  REASONS,
  type Reason,
  type Subject,
} from '../rules/decide.ts';
import { flagNames } from './flags/evaluation.ts';
import type { FlagProvider } from './flags/provider.ts';
import { type StageView, stageView } from './stage-view.ts';

interface FlagAnswer<T> {
  readonly name: string;
  /** What the flag says for this user; null if it says nothing, or no flags are known. */
  readonly says: T | null;
}

export interface Explanation {
  readonly route: string;
  /** Null for somebody who names himself not. */
  readonly user: string | null;
  readonly decision: Decision;
  readonly reason: Reason;
  readonly sentence: string;
  readonly stage: StageView;
  readonly flags: {
    readonly provider: FlagProvider['provider'];
    readonly revision: string;
    /** Since the flags were read; null while none are known. */
    readonly ageMs: number | null;
    readonly serve: FlagAnswer<FlagFacts['serve']>;
    readonly shadow: FlagAnswer<boolean>;
    readonly kill: FlagAnswer<boolean>;
    readonly isolation: FlagAnswer<string>;
  };
}

/** Asks the same function as traffic does, without any effect. */
export function explain(
  sources: { readonly flags: FlagProvider; readonly decide: Decider },
  route: RouteConfig,
  user: string | null,
): Explanation {
  const subject: Subject | null = user === null ? null : { id: user, aliases: [] };
  const { decision, revision } = sources.decide(route, subject);
  const facts = sources.flags.facts(route, subject);
  const names = flagNames(route);
  const { loadedAt } = sources.flags;
  return {
    route: route.name,
    user,
    decision,
    reason: decision.reason,
    sentence: REASONS[decision.reason],
    stage: stageView(sources.flags.stage(route)),
    flags: {
      provider: sources.flags.provider,
      revision,
      ageMs: loadedAt === null ? null : Date.now() - loadedAt,
      serve: { name: names.serve, says: facts?.serve ?? null },
      shadow: { name: names.shadow, says: facts?.shadow ?? null },
      kill: { name: names.kill, says: facts?.kill ?? null },
      isolation: { name: names.isolation, says: facts?.isolation ?? null },
    },
  };
}
