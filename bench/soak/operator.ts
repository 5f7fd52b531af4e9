// What an operator does while clients are there: the bypass, stages up and down, rollbacks and releases. Each
// is a visit like those of clients: it brings some of its own, to whom nothing may happen meanwhile.
import type { WebSocket } from 'ws';
import type { Side } from '../../src/rules/decide.ts';
import { close, KINDS, type Kind, open, until, type Visit, type Visitor } from './visits.ts';

/** The admin API of the proxy under soak. */
export interface Operator {
  get(call: string): Promise<unknown>;
  post(call: string, body: object): Promise<unknown>;
}

/** Routes of WebSockets that an operator moves, and nobody else uses: what is moved is whole again at the end. */
export const OPERATED_ROUTES = ['staged', 'rolled'] as const;

/** Open WebSockets that go through one change. */
const MOVED = 8;
/** A message may be on its way to the service that one is just taken from, and is then said again. */
const SAY_AGAIN_MS = 250;
const REASON = 'soak';

type Sides = Readonly<Record<Side, { readonly openSessions: number }>>;
interface Status {
  readonly routes: readonly ({ readonly name: string } & Sides)[];
  readonly bypass: Sides;
}

/** `visitors` are those who come along. */
export function operatedKinds(
  operator: Operator,
  visitors: readonly Visitor[],
): Readonly<Record<string, Kind>> {
  let last: Promise<void> = Promise.resolve();
  /** One at a time: who comes in through the bypass is on no route. */
  const inTurn = (visit: Visit): Kind => ({
    ...{ visitors: 1, pauseMs: 500 },
    visit: visitor => {
      const turn = last.then(() => visit(visitor));
      last = turn.catch(() => undefined);
      return turn;
    },
  });
  return {
    bypass: inTurn(visitor => goThroughBypass(operator, visitor)),
    'stage changes': inTurn(() => changeStages(operator, visitors)),
    rollbacks: inTurn(() => rollBackAndRelease(operator, visitors)),
  };
}

/** Everybody who comes meanwhile goes straight to legacy, and this visitor is one of each kind. */
async function goThroughBypass(operator: Operator, visitor: Visitor): Promise<void> {
  await operator.post('/bypass', { state: 'on', reason: REASON });
  try {
    const socket = await open(visitor.port, visitor.bearer);
    const { bypass } = await statusOf(operator);
    if (bypass.legacy.openSessions === 0) throw new Error('nobody is in the bypass');
    await Promise.all(Object.values(KINDS).map(({ visit }) => visit(visitor)));
    await hear(socket);
    await close(socket, 1000);
  } finally {
    await operator.post('/bypass', { state: 'off', reason: REASON });
  }
}

/** From legacy to the candidate, half way back, and to legacy alone. */
async function changeStages(operator: Operator, visitors: readonly Visitor[]): Promise<void> {
  const [route] = OPERATED_ROUTES;
  const set = (stage: string, percent?: number) =>
    operator.post('/stage', { route, stage, percent, reason: REASON });
  await set('shadow');
  await withSockets(route, visitors, async hear => {
    await set('live');
    await moved(operator, route, 'candidate');
    await hear();
    await set('canary', 50);
    await hear();
    await set('off');
    await moved(operator, route, 'legacy');
  });
}

async function rollBackAndRelease(operator: Operator, visitors: readonly Visitor[]): Promise<void> {
  const [, route] = OPERATED_ROUTES;
  await withSockets(route, visitors, async hear => {
    await moved(operator, route, 'candidate');
    await operator.post('/rollback', { route, reason: REASON });
    await moved(operator, route, 'legacy');
    await hear();
    await operator.post('/release', { route, reason: REASON });
    await moved(operator, route, 'candidate');
  });
}

/** Opens so many WebSockets of different users for `change`, and closes them; each is to be heard all along. */
async function withSockets(
  route: string,
  visitors: readonly Visitor[],
  change: (hearAll: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const sockets: WebSocket[] = [];
  const hearAll = async () => void (await Promise.all(sockets.map(hear)));
  try {
    for (const { port, bearer } of visitors.slice(0, MOVED))
      sockets.push(await open(port, bearer, `/${route}`));
    await hearAll();
    await change(hearAll);
    await hearAll();
    await Promise.all(sockets.map(socket => close(socket, 1000)));
  } finally {
    for (const socket of sockets) socket.terminate();
  }
}

async function moved(operator: Operator, route: string, to: Side): Promise<void> {
  let seen: Sides | undefined;
  const areThere = async () => {
    seen = (await statusOf(operator)).routes.find(({ name }) => name === route);
    return seen?.[to].openSessions === MOVED;
  };
  await until(areThere).catch(cause => {
    throw new Error(`${MOVED} of ${route} were to go to ${to}: ${JSON.stringify(seen)}`, { cause });
  });
}

async function statusOf(operator: Operator): Promise<Status> {
  return (await operator.get('/status')) as Status;
}

let said = 0;

/** Says something until it comes back. */
async function hear(socket: WebSocket): Promise<void> {
  said += 1;
  const text = JSON.stringify({ type: 'say', event_id: `operated ${said}` });
  let hasCome = false;
  const onMessage = (data: Buffer) => {
    hasCome ||= data.toString() === text;
  };
  socket.on('message', onMessage);
  const timer = setInterval(() => socket.send(text), SAY_AGAIN_MS);
  socket.send(text);
  try {
    await until(() => {
      if (socket.readyState !== socket.OPEN)
        throw new Error('a WebSocket did not outlive a change');
      return hasCome;
    });
  } finally {
    clearInterval(timer);
    socket.off('message', onMessage);
  }
}
