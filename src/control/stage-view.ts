// A stage as an operator reads it: one word, and shares in percent.
import { lookThroughKill, type Stage, type StageName } from '../rules/stage.ts';

export interface StageView {
  readonly name: StageName;
  /** The stage beneath the kill flag; the same as `name` when that is off. */
  readonly beneath: StageName;
  /** For people: `canary 12.5%`, `killed (canary 12.5% beneath)`. */
  readonly text: string;
  /** Percent of the users; null where the flags' shape names no single share. */
  readonly servePercent: number | null;
  readonly shadowPercent: number | null;
  readonly kill: boolean;
}

export function stageView(stage: Stage): StageView {
  const beneath = lookThroughKill(stage);
  return {
    name: stage.name,
    beneath: beneath.name,
    text: stage.kill ? `killed (${wording(beneath)} beneath)` : wording(stage),
    servePercent: percent(stage.serve),
    shadowPercent: percent(stage.shadow),
    kill: stage.kill,
  };
}

function wording({ name, serve, shadow }: Stage): string {
  if (name === 'canary') return `canary ${percent(serve)}%`;
  if (name === 'shadow' && shadow !== 1000) return `shadow ${percent(shadow)}%`;
  return name;
}

function percent(share: number | undefined): number | null {
  return share === undefined ? null : share / 10;
}
