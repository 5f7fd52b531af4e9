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
