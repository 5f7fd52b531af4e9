// `x-cutover-side`: where an operator wants it, clients are told which service answered them.
import type { Side } from '../rules/decide.ts';
import { plainLength } from '../wire/body.ts';
import { endToEnd } from '../wire/headers.ts';
import type { AnswerHead } from '../wire/http-head.ts';
import type { TrafficContext } from './context.ts';

const NAME = 'x-cutover-side';

/** Fields of a service's answer as the client gets them. What the service says of its side gives way. */
export function fieldsToClient(
  { status, headers }: Pick<AnswerHead, 'status' | 'headers'>,
  { showSide }: Pick<TrafficContext, 'showSide'>,
  side: Side,
): string[] {
  const fields = plainLength(status, headers);
  if (!showSide) return endToEnd(fields);
  return [...endToEnd(fields, name => name === NAME), 'X-Cutover-Side', side];
}
