// A client of a reference service that remembers every frame it was sent.
import { WebSocket } from 'ws';
import { type BroadcastEvent, isEvent } from '../../src/broadcast/event.ts';
import { type BroadcasterOptions, startBroadcaster } from '../../src/broadcast/server.ts';
import { mintToken, tokenSubprotocols } from '../../src/broadcast/token.ts';
import { until } from '../support/until.ts';

export const SECRET = 'a secret that only tests know, 32 bytes and more';

export interface Listener {
  readonly socket: WebSocket;
  readonly events: BroadcastEvent[];
  /** Close code, once closed. */
  code: number | undefined;
  say(message: object | string): void;
  /** Waits for `count` events that `matches`, and returns all of them. */
  gets(count: number, matches?: (event: BroadcastEvent) => boolean): Promise<BroadcastEvent[]>;
}

export function service(options: Omit<BroadcasterOptions, 'keys'>) {
  return startBroadcaster({ keys: { secret: SECRET }, ...options });
}

/** Connects as a browser does and waits for the greeting. */
export async function listen(url: string, userId: string, path = '/ws'): Promise<Listener> {
  const token = await mintToken(SECRET, userId);
  const listener = attach(
    new WebSocket(`${url.replace('http', 'ws')}${path}`, tokenSubprotocols(token)),
  );
  await listener.gets(1, event => event.type === 'connection_established');
  return listener;
}

export function attach(socket: WebSocket): Listener {
  const events: BroadcastEvent[] = [];
  const listener: Listener = {
    socket,
    events,
    code: undefined,
    say: message => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
    gets: (count, matches = () => true) =>
      until(`${count} events arrived`, () => {
        const found = events.filter(matches);
        return found.length >= count ? found : undefined;
      }),
  };
  socket.on('message', data => {
    const event: unknown = JSON.parse(data.toString());
    if (!isEvent(event)) throw new Error('a frame that is no event');
    events.push(event);
  });
  socket.on('close', code => {
    listener.code = code;
  });
  socket.on('error', () => undefined);
  return listener;
}

export async function post(url: string, userId: string, event: object): Promise<unknown> {
  const answer = await fetch(`${url}/broadcast`, {
    method: 'POST',
    body: JSON.stringify({ user_id: userId, event }),
  });
  if (!answer.ok) throw new Error(`POST /broadcast answered ${answer.status}`);
  return answer.json();
}
