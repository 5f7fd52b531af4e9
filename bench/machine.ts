// What Linux says of processes and of the machine: CPU time, resident size, who else is busy.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** /proc counts CPU time in hundredths of a second (USER_HZ), on every Linux. */
const TICK_US = 10_000;
/** Places in /proc/PID/stat behind the command's closing parenthesis: see proc(5). */
const STAT = { ppid: 1, utime: 11, stime: 12, cutime: 13, cstime: 14 } as const;

/** The process and all that descend from it. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) ? statOf(pid) : null;
    if (stat === null) continue;
    const parent = Number(stat[STAT.ppid]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/**
 * CPU time of the processes so far in µs: all threads, user and system, and their children that have
 * ended.
 */
export function cpuUs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = statOf(pid);
    if (stat === null) throw new Error(`process ${pid} is gone`);
    for (const place of [STAT.utime, STAT.stime, STAT.cutime, STAT.cstime])
      ticks += Number(stat[place]);
  }
  return ticks * TICK_US;
}

/**
 * Puts this process, and all that it starts from now on, before whatever else runs here (SCHED_RR, see sched(7)): the
 * kernel lets others go on for as long as 4 ms where events take a fifth of one. False: not permitted.
 */
export function goFirst(): boolean {
  const { status } = spawnSync('chrt', ['--all-tasks', '--rr', '--pid', '10', String(process.pid)]);
  return status === 0;
}

/** Resident size of the processes, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  const kilobytes = pids.map(pid =>
    Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]),
  );
  return kilobytes.reduce((sum, kb) => sum + kb, 0) * 1024;
}

/** CPU time that all CPUs together were not idle so far, stolen time included, in µs. */
export function machineBusyUs(): number {
  const [, user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'latin1')
    .split('\n', 1)
    .flatMap(line => line.split(/ +/))
    .map(Number) as number[];
  return (
    [user, nice, system, irq, softirq, steal].reduce<number>((a, b) => a + (b ?? 0), 0) * TICK_US
  );
}

function statOf(pid: number): string[] | null {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command may hold spaces and parentheses of its own.
    return line.slice(line.lastIndexOf(')') + 2).split(' ');
  } catch {
    // It ended meanwhile.
    return null;
  }
}
