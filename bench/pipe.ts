// The floor of Node: two sockets, bytes from one to the other, nothing looked at. What comes from the
// upstream is read into one buffer that all share, and copied once. `pipe.ts PORT UPSTREAM_PORT`.
import net from 'node:net';

const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);
const [port, upstreamPort] = process.argv.slice(2).map(Number) as [number, number];

net
  .createServer({ noDelay: true }, client => {
    const upstream = net.connect({
      host: '127.0.0.1',
      port: upstreamPort,
      noDelay: true,
      onread: {
        buffer: READ_BUFFER,
        callback: length => {
          // A write that waits would point into the buffer of the next read.
          if (!client.write(Buffer.from(READ_BUFFER.subarray(0, length)))) upstream.pause();
          return true;
        },
      },
    });
    client.on('data', chunk => {
      if (!upstream.write(chunk)) client.pause();
    });
    client.on('drain', () => upstream.resume());
    upstream.on('drain', () => client.resume());
    client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy());
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
  })
  .listen({ host: '127.0.0.1', port, backlog: 4_096 });
