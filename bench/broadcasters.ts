// What the two reference services cost at 1,000 users: heap of what they hold about their users'
// sockets, and CPU per event that a client has read. Each service runs in a process of its own with
// 1,000 real sockets; both are up at a time and take turns in short bursts, so that whatever else
// the machine does happens to both.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { BroadcasterKind } from '../src/broadcast/side.ts';
import { middle, paired, quantile } from './figures.ts';

export const USERS = 1_000;
/** Events per user in one burst: 5,000 events are a tenth of a second's work. */
export const BURST_ROUNDS = 5;
/** Before anything is measured: the engine compiles what is hot, on threads that count as CPU too. */
export const WARM_UP_ROUNDS = 60;
/** Pairs of processes; heap is measured once in each. */
const PROCESSES = 5;
/** Pairs of bursts per pair of processes. */
const BURSTS = 10;
/** Handshakes under way at a time; one after another would be most of the run. */
const CONNECTING = 50;

type ToChild = 'take-over' | 'burst';
/** What a service's process says; `framesDue` is the sum of frames that its clients must have read. */
export type FromChild =
  | { readonly said: 'listening'; readonly port: number }
  | {
      readonly said: 'took-over';
      readonly framesDue: number;
      /** Heap that came on top of the open sockets. */
      readonly heapBytes: number;
      /** All live heap, sockets included. */
      readonly processHeapBytes: number;
    }
  | { readonly said: 'burst'; readonly framesDue: number; readonly cpuUsPerEvent: number };

interface Figures {
  readonly heapBytesPerUser: number;
  readonly processHeapKb: number;
  readonly cpuUsPerEvent: number;
}

export interface BroadcastersResult {
  readonly users: number;
  readonly processes: number;
  readonly bursts: number;
  readonly legacy: Figures;
  readonly ssot: Figures;
  /** Of the paired ratios: first and third quartile. */
  readonly quartiles: {
    readonly heapSsotToLegacy: readonly [number, number];
    readonly cpuSsotToLegacy: readonly [number, number];
  };
  /** Medians of the paired ratios. */
  readonly ratios: { readonly heapSsotToLegacy: number; readonly cpuSsotToLegacy: number };
}

interface Sample {
  readonly heapBytes: number;
  readonly processHeapBytes: number;
}

export async function benchBroadcasters({ json }: { json: boolean }): Promise<BroadcastersResult> {
  const heap: Record<BroadcasterKind, Sample[]> = { legacy: [], ssot: [] };
  const cpu: Record<BroadcasterKind, number[]> = { legacy: [], ssot: [] };
  for (let pair = 0; pair < PROCESSES; pair++) {
    const services = [await Service.start('legacy'), await Service.start('ssot')];
    try {
      for (const service of services) heap[service.kind].push(await service.takeOver());
      for (let burst = 0; burst < BURSTS; burst++) {
        // Who begins alternates as well.
        const order = burst % 2 === 0 ? services : services.toReversed();
        for (const service of order) cpu[service.kind].push(await service.burst());
      }
    } finally {
      for (const service of services) await service.stop();
    }
    if (!json) {
      for (const { kind } of services) {
        const bytes = (heap[kind].at(-1)?.heapBytes ?? Number.NaN) / USERS;
        const us = quantile(cpu[kind].slice(-BURSTS), 0.5);
        console.log(`${kind}: ${bytes.toFixed(0)} B/user, ${us.toFixed(2)} µs/event`);
      }
    }
  }
  const heapRatios = paired(
    heap.ssot.map(each => each.heapBytes),
    heap.legacy.map(each => each.heapBytes),
  );
  const cpuRatios = paired(cpu.ssot, cpu.legacy);
  const result = {
    users: USERS,
    processes: PROCESSES,
    bursts: PROCESSES * BURSTS,
    legacy: figuresOf(heap.legacy, cpu.legacy),
    ssot: figuresOf(heap.ssot, cpu.ssot),
    quartiles: { heapSsotToLegacy: middle(heapRatios), cpuSsotToLegacy: middle(cpuRatios) },
    ratios: {
      heapSsotToLegacy: quantile(heapRatios, 0.5),
      cpuSsotToLegacy: quantile(cpuRatios, 0.5),
    },
  };
  if (!json) console.log(result);
  return result;
}

/** One service's process, and its thousand clients in this one. */
class Service {
  readonly kind: BroadcasterKind;
  readonly #child: ChildProcess;
  readonly #clients: WebSocket[] = [];
  #framesRead = 0;
  #onFrame: () => void = () => undefined;

  private constructor(kind: BroadcasterKind) {
    this.kind = kind;
    this.#child = fork(new URL('./broadcaster-process.ts', import.meta.url), [kind], {
      execArgv: ['--expose-gc'],
    });
  }

  static async start(kind: BroadcasterKind): Promise<Service> {
    const service = new Service(kind);
    const { port } = await service.#hears('listening');
    for (let from = 0; from < USERS; from += CONNECTING) {
      const batch = Array.from({ length: CONNECTING }, () => service.#connect(port));
      await Promise.all(batch);
    }
    return service;
  }

  async takeOver(): Promise<Sample> {
    const said = await this.#ask('take-over', 'took-over');
    await this.#hasRead(said.framesDue);
    return said;
  }

  async burst(): Promise<number> {
    const said = await this.#ask('burst', 'burst');
    await this.#hasRead(said.framesDue);
    return said.cpuUsPerEvent;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.terminate();
    const exited = once(this.#child, 'exit');
    this.#child.kill();
    await exited;
  }

  async #connect(port: number): Promise<void> {
    const client = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
    client.on('message', () => {
      this.#framesRead++;
      this.#onFrame();
    });
    this.#clients.push(client);
    await once(client, 'open');
  }

  /** A frame that never arrives is a hang, which is what such a service would deserve. */
  #hasRead(framesDue: number): Promise<void> {
    return new Promise(settle => {
      this.#onFrame = () => {
        if (this.#framesRead === framesDue) settle();
      };
      this.#onFrame();
    });
  }

  #ask<S extends FromChild['said']>(ask: ToChild, said: S) {
    const answer = this.#hears(said);
    this.#child.send(ask);
    return answer;
  }

  #hears<S extends FromChild['said']>(said: S): Promise<Extract<FromChild, { said: S }>> {
    return new Promise((settle, reject) => {
      const onExit = (code: number | null) => reject(new Error(`${this.kind} ended with ${code}`));
      this.#child.once('exit', onExit);
      this.#child.once('message', (message: FromChild) => {
        this.#child.off('exit', onExit);
        if (isSaid(message, said)) settle(message);
        else reject(new Error(`${this.kind} said ${message.said} instead of ${said}`));
      });
    });
  }
}

function isSaid<S extends FromChild['said']>(
  message: FromChild,
  said: S,
): message is Extract<FromChild, { said: S }> {
  return message.said === said;
}

function figuresOf(heap: readonly Sample[], cpu: readonly number[]): Figures {
  const median = (figure: (sample: Sample) => number) => quantile(heap.map(figure), 0.5);
  return {
    heapBytesPerUser: median(sample => sample.heapBytes) / USERS,
    processHeapKb: median(sample => sample.processHeapBytes) / 1024,
    cpuUsPerEvent: quantile(cpu, 0.5),
  };
}
