// Where contestants take their places: each with a port of the upstream's own, and a folder that is
// gone afterwards.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { missingPeers, PEERS, type Peer, type PeerName, startPeer } from './peers.ts';

export type Contestant = 'direct' | PeerName;
/** Without a proxy first: what is left when one is taken away. */
export const CONTESTANTS: readonly Contestant[] = ['direct', ...PEERS];

/** A contestant, ready to be connected to. */
export interface Line {
  readonly name: Contestant;
  readonly servicePort: number;
  readonly port: number;
  /** Processes of the proxy; none without one. */
  readonly pids: readonly number[];
}

export class Stage {
  readonly #dir: string;
  readonly #openService: () => Promise<number>;
  readonly #peers: Peer[] = [];

  private constructor(dir: string, openService: () => Promise<number>) {
    this.#dir = dir;
    this.#openService = openService;
  }

  /** `openService` opens a further port of the upstream's. */
  static async set(openService: () => Promise<number>): Promise<Stage> {
    return new Stage(await mkdtemp(path.join(tmpdir(), 'cutover-bench-')), openService);
  }

  async line(name: Contestant): Promise<Line> {
    const servicePort = await this.#openService();
    if (name === 'direct') return { name, servicePort, port: servicePort, pids: [] };
    const peer = await startPeer(name, servicePort, this.#dir);
    this.#peers.push(peer);
    return {
      name,
      servicePort,
      port: peer.port,
      get pids() {
        return peer.pids;
      },
    };
  }

  async stopPeers(): Promise<void> {
    for (const peer of this.#peers.splice(0)) await peer.stop();
  }

  async strike(): Promise<void> {
    await this.stopPeers();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** All that can take part here; who can not is named on stderr. */
export function contestants(): readonly Contestant[] {
  const missing = missingPeers();
  if (missing.length > 0)
    console.error(
      `not installed: ${missing.join(', ')}; scripts/bench-peers and npm ci install them`,
    );
  return CONTESTANTS.filter(name => name === 'direct' || !missing.includes(name));
}
