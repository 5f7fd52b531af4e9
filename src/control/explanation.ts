// Why somebody is served by one side: the decision that traffic would get, and what it came from.
import type { RouteConfig } from '../config/schema.ts';
import type { Decider } from '../ports.ts';
import {
  type Decision,
  type FlagFacts,
  REASONS,
  type Reason,
  type Side,
  type Subject,
} from '../rules/decide.ts';
import { pinFor } from '../rules/pin.ts';
import { flagNames } from './flags/evaluation.ts';
import type { FlagProvider } from './flags/provider.ts';
import { featureOf, untilOf } from './pins.ts';
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
  /** The pin of this user in the serve flag, which counts unless something comes before the flag. */
  readonly pin: {
    readonly flag: string;
    readonly side: Side;
    /** ISO 8601; null: without end. */
    readonly until: string | null;
  } | null;
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
  const pin = pinOfUser(sources.flags, names.serve, user);
  const decides = pin !== null && decision.reason === 'serve-flag' && pin.side === decision.primary;
  return {
    route: route.name,
    user,
    decision,
    reason: decision.reason,
    sentence: decides
      ? `the serve flag pins this user there ${pin.until === null ? 'without end' : `until ${pin.until}`}`
      : REASONS[decision.reason],
    pin,
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

function pinOfUser(flags: FlagProvider, flag: string, user: string | null): Explanation['pin'] {
  const pin = user === null ? null : pinFor(featureOf(flags, flag), user, Date.now());
  return pin === null ? null : { flag, side: pin.side, until: untilOf(pin) };
}
