// Upstream of the HTTP benchmark: 250 bytes of JSON for every request, on bare sockets. It tells
// requests apart by the empty line behind their heads; none of them has a body.
import { once } from 'node:events';
import net from 'node:net';
import { serveQuestions } from './worker.ts';

/** Asked anything, it opens another port and answers with it. */
export type ServerQuestion = { readonly listen: true };

const BODY = JSON.stringify({ id: 1, text: 'Comparing spend by region and by month. '.repeat(6) })
  .slice(0, 248)
  .concat('"}');
const ANSWER = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
);
const HEAD_END = '\r\n\r\n';

serveQuestions<ServerQuestion, number>(async () => {
  const server = net.createServer({ noDelay: true }, socket => {
    let part = '';
    socket.on('data', chunk => {
      const text = part + chunk.toString('latin1');
      let from = 0;
      for (let end = text.indexOf(HEAD_END); end !== -1; end = text.indexOf(HEAD_END, from)) {
        from = end + HEAD_END.length;
        socket.write(ANSWER);
      }
      part = text.slice(from);
    });
    socket.on('error', () => socket.destroy());
  });
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 });
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
});
