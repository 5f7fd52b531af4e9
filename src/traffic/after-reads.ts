// What is to happen once everything that has arrived so far has been read: what is written to a service that has
// closed meanwhile takes the connection with it, and with that an answer which nobody has read yet.

let due: (() => void)[] = [];

/** Calls `work` once everything that has arrived so far has been read. */
export function afterReads(work: () => void): void {
  if (due.length === 0) setImmediate(workOff);
  due.push(work);
}

function workOff(): void {
  const works = due;
  due = [];
  for (const work of works) work();
}
