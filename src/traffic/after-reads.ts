// What is to happen once everything that has arrived so far has been read. What is written to a service that has
// closed takes the connection with it, and an answer which nobody has read yet; who has sent something is not silent.
//
// What arrives between the last read of a turn and a write in it nobody can have seen: the system has no way to write
// only if there is nothing to read. An early answer is lost then, as it is to any client that sends on.

let due: (() => void)[] = [];

/** Calls `work` once everything that has arrived so far has been read. */
export function afterReads(work: () => void): void {
  if (due.length === 0) setImmediate(workOff);
  due.push(work);
}

function workOff(): void {
  const works = due;
  due = [];
  for (const work of works) {
    try {
      work();
    } catch (error) {
      // It is nobody else's: those behind it have their turn, and then it is thrown.
      process.nextTick(() => {
        throw error;
      });
    }
  }
}
