// The scenario, played by `ws`.
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { OFFERED, SCENARIO, type Visit } from './scenario.ts';

export async function visitByWs(url: string): Promise<Visit> {
  const socket = new WebSocket(url, [...OFFERED]);
  await once(socket, 'open');
  const ask = async (message: string | Buffer): Promise<Buffer> => {
    const answer = once(socket, 'message');
    socket.send(message);
    return (await answer)[0];
  };
  const texts: string[] = [];
  for (const text of SCENARIO.texts) texts.push(String(await ask(text)));
  const binary = [...(await ask(Buffer.from(SCENARIO.binary)))];
  const pong = once(socket, 'pong');
  socket.ping('are you there');
  await pong;
  const closed = once(socket, 'close');
  socket.close(4321, 'enough');
  const [code, reason] = await closed;
  return { protocol: socket.protocol, texts, binary, code, reason: String(reason) };
}
