// The migration's stage: one word for what the serve, shadow and kill flags say together.

/** Stages in the order in which a migration takes them. */
export const STAGES = ['off', 'shadow', 'canary', 'live', 'complete'] as const;
export type StageName = (typeof STAGES)[number] | 'killed' | 'mixed';

/** Shares are thousandths: 125 = 12.5 %. `undefined`: the flag's shape names no single share. */
export interface Stage {
  readonly name: StageName;
  readonly serve: number | undefined;
  readonly shadow: number | undefined;
  readonly kill: boolean;
}

/** Names the stage that the flags amount to. `killed` covers the kill flag; `mixed` anything odd. */
export function deriveStage(
  serve: number | undefined,
  shadow: number | undefined,
  kill: boolean,
): Stage {
  return { name: kill ? 'killed' : underlying(serve, shadow), serve, shadow, kill };
}

/** The stage beneath the kill flag, which changes who serves and nothing else. */
export function lookThroughKill(stage: Stage): Stage {
  return stage.kill ? deriveStage(stage.serve, stage.shadow, false) : stage;
}

function underlying(serve: number | undefined, shadow: number | undefined): StageName {
  if (serve === undefined || shadow === undefined) return 'mixed';
  if (serve === 0) return shadow === 0 ? 'off' : 'shadow';
  if (serve === 1000) return shadow === 0 ? 'complete' : 'live';
  return shadow === 0 ? 'mixed' : 'canary';
}

/** More users on the candidate afterwards, or no way back from it any more. */
export function isForward(before: Stage, after: Stage): boolean {
  if (after.kill) return false;
  const served = before.kill ? 0 : (before.serve ?? 0);
  return (after.serve ?? 0) > served || (after.name === 'complete' && before.name !== 'complete');
}

/** Fewer users on the candidate afterwards: some are taken to legacy. */
export function isBack(before: Stage, after: Stage): boolean {
  // A share that nobody can name may be any.
  const served = ({ kill, serve }: Stage): number => (kill ? 0 : (serve ?? 1000));
  return served(after) < served(before);
}

/** What an operator asks for. `percent` belongs to `canary` (who serves) and `shadow` (sampled). */
export interface StageTarget {
  readonly serve: number;
  readonly shadow: number;
  readonly kill: boolean;
}

/**
 * Shares for a stage word. `percent` is 0.1–99.9 for `canary` (required) and 0.1–100 for `shadow`
 * (default 100), in steps of 0.1. Throws `RangeError` with a sentence for the operator.
 */
export function stageTarget(name: string, percent?: number): StageTarget {
  if (percent !== undefined && name !== 'canary' && name !== 'shadow') {
    throw new RangeError(`stage ${name} takes no percentage; only canary and shadow do`);
  }
  switch (name) {
    case 'off':
      return { serve: 0, shadow: 0, kill: false };
    case 'shadow':
      return {
        serve: 0,
        shadow: percent === undefined ? 1000 : thousandths(percent, 100),
        kill: false,
      };
    case 'canary':
      if (percent === undefined) {
        throw new RangeError('stage canary needs a percentage, for example: canary 12.5%');
      }
      return { serve: thousandths(percent, 99.9), shadow: 1000, kill: false };
    case 'live':
      return { serve: 1000, shadow: 1000, kill: false };
    case 'complete':
      return { serve: 1000, shadow: 0, kill: false };
    default:
      throw new RangeError(`no stage "${name}"; stages are ${STAGES.join(', ')}`);
  }
}

function thousandths(percent: number, most: number): number {
  const share = Math.round(percent * 10);
  if (
    !Number.isFinite(percent) ||
    Math.abs(share - percent * 10) > 1e-6 ||
    share < 1 ||
    share > most * 10
  ) {
    throw new RangeError(`${percent} % is not possible; allowed is 0.1 to ${most} in steps of 0.1`);
  }
  return share;
}
