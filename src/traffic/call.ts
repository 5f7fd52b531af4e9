// One request in the lane of HTTP, with what is known of it.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RouteConfig } from '../config/schema.ts';
import type { ClientLink } from './affinity.ts';
import type { TrafficContext } from './context.ts';
import type { RequestFacts } from './upstream.ts';

export interface Call {
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly context: TrafficContext;
  readonly request: RequestFacts;
  readonly route: RouteConfig;
  readonly link: ClientLink;
  /**
   * What judge and guard know it by. Not its `X-Request-Id`: two users may send the same, and one would be judged
   * by what the other was sent.
   */
  readonly id: string;
}
