// `x-cutover-side`: where an operator wants it, clients are told which service answered them.
import type { Side } from '../rules/decide.ts';
import { endToEnd, type RawHeaders } from '../wire/headers.ts';
import type { TrafficContext } from './context.ts';

const NAME = 'x-cutover-side';

/** Fields of a service's answer as the client gets them. What the service says of its side gives way. */
export function fieldsToClient(
  headers: RawHeaders,
  { showSide }: Pick<TrafficContext, 'showSide'>,
  side: Side,
): string[] {
  if (!showSide) return endToEnd(headers);
  return [...endToEnd(headers, name => name === NAME), 'X-Cutover-Side', side];
}
