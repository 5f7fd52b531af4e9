// A process of the benchmark's own that is asked one thing at a time.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

export class Worker<Question, Answer> {
  readonly #child: ChildProcess;
  readonly #name: string;

  constructor(file: string) {
    this.#name = file;
    this.#child = fork(new URL(file, import.meta.url));
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Rejects if the process ends instead of answering. */
  ask(question: Question): Promise<Answer> {
    return new Promise((settle, reject) => {
      const onExit = (code: number | null) =>
        reject(new Error(`${this.#name} ended with ${code} instead of answering`));
      this.#child.once('exit', onExit);
      this.#child.once('message', (answer: Answer) => {
        this.#child.off('exit', onExit);
        settle(answer);
      });
      this.#child.send(question as object);
    });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill();
    await exited;
  }
}

/** The other end: answers questions in the order in which they come, and ends with its parent. */
export function serveQuestions<Question, Answer>(
  answer: (question: Question) => Promise<Answer> | Answer,
): void {
  process.on('message', async (question: Question) => {
    process.send?.(await answer(question));
  });
  process.once('disconnect', () => process.exit());
}
