// What isolation has done on a route, as an operator reads it.
import type { RouteConfig } from '../config/schema.ts';
import { type IsolationMode, isolationByDefault, SIDES, type Side } from '../rules/decide.ts';
import type { IsolationRule } from '../rules/isolation/incident.ts';
import type { Uninspectable } from '../rules/isolation/rules.ts';
import type { ContaminationCount } from './incidents.ts';
import type { ProxyView } from './proxy-view.ts';
import type { SharedAddress } from './shared-addresses.ts';

export interface IsolationView {
  /** As configured; null: it follows from who serves. A flag may say otherwise for some. */
  readonly mode: RouteConfig['isolation']['mode'] | null;
  /** What that comes to where a side serves. */
  readonly modes: Readonly<Record<Side, IsolationMode>>;
  readonly uninspectable: Uninspectable;
  /**
   * The names that users have and those in legacy's events do not fit: addresses prove nothing, and the
   * guardrail does not act on them.
   */
  readonly identityMismatch: boolean;
  /** Of events that are compared, and of legacy's that are only heard. */
  readonly sides: Readonly<Record<Side, SideView>>;
  /** Contaminated events since the start, by what told and what became of them. */
  readonly contaminated: readonly Omit<ContaminationCount, 'route'>[];
  /** Where both services name others alike, most frequent first: no incidents. */
  readonly shared: readonly SharedAddress[];
}

interface SideView {
  /** Routing fields that name somebody, and those of them that name another user. */
  readonly fields: number;
  readonly foreign: number;
  /** Events that the other service sent the same user as well: no incidents. */
  readonly onBoth: number;
  /** As `SideIsolation` has it: no incidents. */
  readonly inDoubt: number;
  readonly contaminated: Readonly<Partial<Record<IsolationRule, number>>>;
  /** By cause. */
  readonly uninspectable: Readonly<Record<string, number>>;
  /** Given up because too much waited at a time, by cause. */
  readonly crowded: Readonly<Record<string, number>>;
}

const NOTHING: SideView = {
  ...{ fields: 0, foreign: 0, onBoth: 0, inDoubt: 0 },
  ...{ contaminated: {}, uninspectable: {}, crowded: {} },
};

export function isolationView(
  { judge, incidents }: Pick<ProxyView, 'judge' | 'incidents'>,
  route: RouteConfig,
): IsolationView {
  const { name, isolation } = route;
  const books = judge.isolationBooks().get(name);
  const sides = SIDES.map(side => {
    const of = books?.sides[side];
    if (of === undefined) return [side, NOTHING];
    const { contaminated, uninspectable, crowded, ...counts } = of;
    const view = {
      ...counts,
      contaminated: occurred(contaminated),
      uninspectable: occurred(uninspectable),
      crowded: occurred(crowded),
    };
    return [side, view];
  });
  return {
    mode: isolation.mode ?? null,
    modes: {
      legacy: isolation.mode ?? isolationByDefault('legacy', route),
      candidate: isolation.mode ?? isolationByDefault('candidate', route),
    },
    uninspectable: isolation.uninspectable,
    identityMismatch: books?.identityMismatch ?? false,
    sides: Object.fromEntries(sides) as IsolationView['sides'],
    contaminated: [...incidents.counts]
      .filter(count => count.route === name)
      .map(({ route: _, ...count }) => count),
    shared: incidents.shared.of(name),
  };
}

function occurred<K extends string>(
  counts: Readonly<Record<K, number>>,
): Partial<Record<K, number>> {
  const found = Object.entries<number>(counts).filter(([, count]) => count > 0);
  return Object.fromEntries(found) as Partial<Record<K, number>>;
}
