// The bypass as an operator engages, ends and sees it.
import { CutoverError } from '../errors.ts';
import type { TrafficView } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { BYPASS_NAME, UNROUTED_NAME } from '../rules/routes.ts';
import type { Engaged } from './bypass.ts';
import type { ProxyView } from './proxy-view.ts';

const NOTES = {
  on: 'everything new goes straight to legacy: neither flagged nor compared; writes reach the candidate as well while somebody is still open there',
  off: 'requests and connections go where flags say',
} as const;

export interface BypassRequest {
  readonly state: 'on' | 'off';
  /** For whoever asks later why. */
  readonly reason: string;
  /** With `on`: end what is open on routes, so that it comes back through the bypass. */
  readonly closeOpen?: boolean | undefined;
}

export interface BypassView {
  readonly engaged: Engaged | null;
  /** False: the state folder could not be written, so a restart ends it. */
  readonly kept: boolean;
  /** Open WebSockets and event streams: those that came in through it, and others by who serves them. */
  readonly open: { readonly bypass: number } & Readonly<Record<Side, number>>;
  readonly note: string;
}

export interface BypassChange extends BypassView {
  /** False: it was so already, since the time and for the reason that it says. */
  readonly changed: boolean;
  /** Open ones that are being ended, and over how long; null if nobody asked for that. */
  readonly ending: { readonly count: number; readonly overMs: number } | null;
}

type Asked = Pick<ProxyView, 'bypass' | 'traffic' | 'loaded'>;

export function bypassView({ bypass, traffic }: Asked): BypassView {
  const { engaged, kept } = bypass;
  return { engaged, kept, open: openOf(traffic()), note: engaged === null ? NOTES.off : NOTES.on };
}

/** Throws `CutoverError`: `invalid-argument`, or `conflict` if it can not be ended for good. */
export async function changeBypass(
  proxy: Asked,
  { state, reason, closeOpen = false }: BypassRequest,
): Promise<BypassChange> {
  const { bypass } = proxy;
  const changed = (bypass.engaged !== null) !== (state === 'on');
  if (state === 'off') {
    if (closeOpen) {
      const message =
        'closeOpen goes with state on; what came in through the bypass stays on legacy';
      throw new CutoverError('invalid-argument', message, { field: 'closeOpen' });
    }
    await bypass.release();
    proxy.traffic()?.stopEnding();
    return { ...bypassView(proxy), changed, ending: null };
  }
  await bypass.engage(reason);
  // Counted before any of them ends.
  const view = bypassView(proxy);
  const overMs = proxy.loaded().config.limits.drainMs;
  const count = closeOpen ? (proxy.traffic()?.endOpen(overMs) ?? 0) : 0;
  return { ...view, changed, ending: closeOpen ? { count, overMs } : null };
}

function openOf(traffic: TrafficView | null): BypassView['open'] {
  const open = { bypass: 0, legacy: 0, candidate: 0 };
  for (const { route, side, counters } of traffic?.counters() ?? []) {
    if (route === UNROUTED_NAME) continue;
    open[route === BYPASS_NAME ? 'bypass' : side] += counters.sessionsOpen + counters.streamsOpen;
  }
  return open;
}
