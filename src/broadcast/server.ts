// A reference service as a running server: WebSocket, SSE and HTTP on one port.
//
//   client ─ upgrade ─► who? ─► hub.join ─► side (legacy | ssot) ─► [faults] ─► socket
//   client ─ message ─► agent bridge ─┐
//   backend ─ POST /broadcast ────────┴─► hub.broadcast ─► side ─► every socket of the user
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Keys, tokenVerifier } from './credentials.ts';
import { eventKeyOf } from './event-key.ts';
import type { FaultSetting } from './fault.ts';
import { FaultPlanter, type PlantedFault } from './fault-planter.ts';
import { type Endpoints, handleHttp } from './http-endpoints.ts';
import { BroadcastHub, type OnWritten } from './hub.ts';
import type { LegacyEntry } from './legacy/entry.ts';
import { LIVENESS, type LivenessTimes } from './liveness.ts';
import type { Quirk } from './quirks.ts';
import { type BroadcasterKind, type BroadcasterSide, legacySide, ssotSide } from './side.ts';
import { SOCKET_PATHS, SocketServer } from './socket-server.ts';
import { Tickets } from './tickets.ts';

export interface BroadcasterOptions {
  readonly kind: BroadcasterKind;
  readonly host?: string;
  /** 0 takes any free port. */
  readonly port?: number;
  readonly keys: Keys;
  /** Which legacy implementation serves. */
  readonly entry?: LegacyEntry;
  readonly faults?: readonly FaultSetting[];
  readonly seed?: number;
  readonly truthFile?: string | undefined;
  readonly quirks?: readonly Quirk[];
  /** Frames take up to so long on their way to a socket, and stay in order. */
  readonly jitterMs?: number;
  /** Pause between the steps of an agent run. */
  readonly agentDelayMs?: number;
  /** `close`: accept, say why, close 1008. `refuse`: HTTP 403 before the upgrade. */
  readonly authFailure?: 'close' | 'refuse';
  readonly liveness?: LivenessTimes;
  readonly onWritten?: OnWritten;
  /** What a planted crash does; by default all sockets are torn down, as the kernel would. */
  readonly onCrash?: () => void;
  /** The SSOT service's log lines; they hold no ids. */
  readonly log?: (line: Readonly<Record<string, unknown>>) => void;
}

export interface RunningBroadcaster {
  /** `http://host:port`. */
  readonly url: string;
  readonly port: number;
  /** Events due so far (see `OnWritten`), faults planted, sockets silent or broken. */
  readonly counts: {
    readonly due: number;
    readonly planted: number;
    readonly silent: number;
    readonly broken: number;
  };
  /** As `GET /ws/stats`. */
  stats(): object;
  /**
   * Plants one fault, into the next event of such a user that has what the fault alters. Only in a service
   * that was started with `faults`, be they none.
   */
  plantNext(...what: Parameters<FaultPlanter['plantNext']>): Promise<PlantedFault>;
  /** Says goodbye to every socket (1001) and ends. */
  close(): Promise<void>;
}

/** Starts a service. Rejects when the port can not be had, the keys or the truth file not used. */
export async function startBroadcaster(options: BroadcasterOptions): Promise<RunningBroadcaster> {
  const { host = '127.0.0.1', port = 0, faults, seed = 1, jitterMs = 0 } = options;
  let due = 0;
  const onWritten: OnWritten = (userId, eventKey, event) => {
    due++;
    options.onWritten?.(userId, eventKey, event);
  };
  const side = buildSide(options, onWritten);
  const http = createServer();
  const crash = options.onCrash ?? (() => tearDown());
  const { truthFile } = options;
  const planter =
    faults !== undefined ? new FaultPlanter({ faults, seed, truthFile, crash }) : undefined;
  const hub = new BroadcastHub({ side, planter, jitterMs, onWritten, socketPaths: SOCKET_PATHS });
  const endpoints: Endpoints = {
    hub,
    verify: tokenVerifier(options.keys),
    tickets: new Tickets(),
  };
  const sockets = new SocketServer(endpoints, {
    agentDelayMs: options.agentDelayMs ?? 0,
    authFailure: options.authFailure ?? 'close',
    liveness: options.liveness ?? LIVENESS,
  });

  http.on('request', (request, response) => handleHttp(endpoints, request, response));
  http.on('upgrade', (request, socket, head) => sockets.upgrade(request, socket, head));
  const tearDown = () => {
    sockets.terminate();
    http.closeAllConnections();
    http.close();
  };
  const address = await listen(http, port, host).catch((error: unknown) => {
    sockets.terminate();
    planter?.close();
    throw error;
  });
  return {
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`,
    port: address.port,
    get counts() {
      return { due, planted: planter?.planted ?? 0, ...sockets.counts };
    },
    stats: () => side.stats(),
    plantNext: async (...what) => {
      if (planter === undefined) throw new TypeError('this service plants no faults');
      return planter.plantNext(...what);
    },
    async close() {
      hub.isClosing = true;
      const closed = new Promise<void>(settle => {
        http.close(() => settle());
      });
      await sockets.close();
      http.closeAllConnections();
      await closed;
      planter?.close();
    },
  };
}

function buildSide(options: BroadcasterOptions, onWritten: OnWritten): BroadcasterSide {
  if (options.kind === 'legacy') return legacySide(options.entry ?? 'singleton');
  return ssotSide({
    quirks: new Set(options.quirks),
    onReplay: (userId, event) => onWritten(userId, eventKeyOf(event), event),
    ...(options.log === undefined ? {} : { log: options.log }),
  });
}

function listen(server: Server, port: number, host: string): Promise<AddressInfo> {
  return new Promise((settle, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const address = server.address();
      if (address === null || typeof address === 'string') reject(new Error('no TCP address'));
      else settle(address);
    });
  });
}
