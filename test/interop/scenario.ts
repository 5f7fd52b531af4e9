// One visit of a WebSocket, to be played by clients of every make: subprotocols, messages of each size
// and kind, a ping, and a close with a code of its own.

export const OFFERED = ['one', 'two'] as const;

export const SCENARIO = {
  texts: ['', 'naïve €uro 🚲', 'x'.repeat(126), 'y'.repeat(70_000)],
  binary: Array.from({ length: 256 }, (_, i) => i),
} as const;

export interface Visit {
  protocol: string;
  /** What came back, message by message. */
  texts: readonly string[];
  binary: readonly number[];
  code: number;
  /** Some APIs do not tell it. */
  reason?: string;
}

/** What every client has to have seen, whoever serves it. */
export const EXPECTED: Visit = { protocol: 'two', ...SCENARIO, code: 4321 };

/** The scenario for whatever has the API of browsers; written so that it can be sent into one. */
export async function visitInBrowser(
  url: string,
  offered: readonly string[],
  { texts, binary }: { texts: readonly string[]; binary: readonly number[] },
): Promise<Visit> {
  const socket = new WebSocket(url, [...offered]);
  socket.binaryType = 'arraybuffer';
  const failed = new Promise<never>((_, reject) => {
    socket.onerror = () => reject(new Error('the WebSocket failed'));
  });
  await Promise.race([failed, new Promise(resolve => socket.addEventListener('open', resolve))]);
  const ask = (message: string | Uint8Array<ArrayBuffer>) =>
    Promise.race([
      failed,
      new Promise<unknown>(resolve => {
        socket.addEventListener('message', ({ data }) => resolve(data), { once: true });
        socket.send(message);
      }),
    ]);
  const echoed: string[] = [];
  for (const text of texts) echoed.push(String(await ask(text)));
  const bytes = (await ask(Uint8Array.from(binary))) as ArrayBuffer;
  const { code } = await new Promise<CloseEvent>(resolve => {
    socket.addEventListener('close', resolve);
    socket.close(4321, 'enough');
  });
  return { protocol: socket.protocol, texts: echoed, binary: [...new Uint8Array(bytes)], code };
}
