// Says beforehand when the system will not carry the sessions that the configuration allows.
import { readFile } from 'node:fs/promises';

/** A client's socket and, while both services see a session, one to each of them. */
const FILES_PER_SESSION = 3;
/** Listeners, admin connections, health checks, plain HTTP, files, the threads' own. */
const OTHER_FILES = 200;

export interface SystemLimits {
  /** Soft limit of open files; undefined: unknown or unlimited. */
  readonly openFiles?: number | undefined;
  /** Local ports that outgoing connections get, both ends included; undefined: unknown. */
  readonly portRange?: readonly [first: number, last: number] | undefined;
}

export interface CapacityPlan {
  readonly maxSessions: number;
  /** Base URLs of the services; each session has at most one connection to each. */
  readonly upstreams: readonly string[];
  readonly limits: SystemLimits;
}

/** One sentence for each limit that is too small; empty if all is well or nothing is known. */
export function capacityWarnings({ maxSessions, upstreams, limits }: CapacityPlan): string[] {
  const warnings: string[] = [];
  const files = maxSessions * FILES_PER_SESSION + OTHER_FILES;
  const { openFiles, portRange } = limits;
  if (openFiles !== undefined && files > openFiles) {
    const carried = Math.max(0, Math.floor((openFiles - OTHER_FILES) / FILES_PER_SESSION));
    warnings.push(
      `limits.maxSessions ${maxSessions} may need ${files} open files, but the limit is ${openFiles}, enough for ${carried} sessions: raise it (ulimit -n, LimitNOFILE) or lower maxSessions`,
    );
  }
  if (portRange !== undefined) {
    const ports = portRange[1] - portRange[0] + 1;
    for (const [address, legs] of legsByAddress(upstreams, maxSessions)) {
      if (legs <= ports) continue;
      warnings.push(
        `limits.maxSessions ${maxSessions} may need ${legs} connections to ${address}, but there are ${ports} local ports for one address: widen net.ipv4.ip_local_port_range, let the service have several addresses, or lower maxSessions`,
      );
    }
  }
  return warnings;
}

/** What this machine allows, where it says so (Linux); elsewhere nothing is known. */
export async function readSystemLimits(proc = '/proc'): Promise<SystemLimits> {
  const [limits, range] = await Promise.all([
    textOf(`${proc}/self/limits`),
    textOf(`${proc}/sys/net/ipv4/ip_local_port_range`),
  ]);
  const openFiles = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  const [, first, last] = /^\s*(\d+)\s+(\d+)/.exec(range) ?? [];
  return {
    ...(openFiles !== undefined && { openFiles: Number(openFiles) }),
    ...(first !== undefined && { portRange: [Number(first), Number(last)] as const }),
  };
}

/** Both services behind one address draw on the same ports. */
function legsByAddress(upstreams: readonly string[], maxSessions: number): Map<string, number> {
  const legs = new Map<string, number>();
  for (const upstream of upstreams) {
    const { hostname, port, protocol } = new URL(upstream);
    const address = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
    legs.set(address, (legs.get(address) ?? 0) + maxSessions);
  }
  return legs;
}

async function textOf(path: string): Promise<string> {
  // Other systems have no such file, which is why limits may be unknown.
  return readFile(path, 'utf8').catch(() => '');
}
