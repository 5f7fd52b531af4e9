// What the kernel says of a process (proc(5)); Linux only.
import { readdirSync, readFileSync } from 'node:fs';

/** Resident size in bytes: now (`VmRSS`), or the most that it ever was (`VmHWM`). */
export function residentBytes(pid: number, field: 'VmRSS' | 'VmHWM' = 'VmRSS'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} has no ${field}`);
  return Number(kilobytes) * 1024;
}

/** Open descriptors, sockets among them. */
export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Bytes that the kernel keeps for a TCP socket: written and not acknowledged, come and not read. */
export interface SocketQueues {
  readonly unsent: number;
  readonly unread: number;
}

/** Of the socket over IPv4 in this network with these ports, whatever process has it. */
export function socketQueues(localPort: number, remotePort: number): SocketQueues {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  const line = new RegExp(
    `:${hex(localPort)} [0-9A-F]+:${hex(remotePort)} [0-9A-F]{2} ([0-9A-F]+):([0-9A-F]+)`,
  ).exec(readFileSync('/proc/net/tcp', 'utf8'));
  if (line === null) throw new Error(`there is no socket from ${localPort} to ${remotePort}`);
  return { unsent: Number.parseInt(line[1] ?? '', 16), unread: Number.parseInt(line[2] ?? '', 16) };
}
