// A plain proxy built on a library: `node-proxy.ts http-proxy|httpxy PORT UPSTREAM_PORT [agent]`.
import http from 'node:http';
import type httpProxy from 'http-proxy';

const [library = '', port, upstreamPort, agent] = process.argv.slice(2);
// Named at run time: the libraries have the same interface, and one of them may not be installed.
const { createProxyServer } = (await import(library)) as typeof httpProxy;
const proxy = createProxyServer({
  target: `http://127.0.0.1:${upstreamPort}`,
  ws: true,
  // Without one, as the libraries come, every request opens a connection of its own.
  ...(agent === 'agent' && { agent: new http.Agent({ keepAlive: true }) }),
});
proxy.on('error', (_error, _request, client) => client.destroy());
http
  .createServer((request, response) => void proxy.web(request, response))
  .on('upgrade', (request, socket, head) => void proxy.ws(request, socket as never, head))
  .listen({ host: '127.0.0.1', port: Number(port), backlog: 4_096 });
