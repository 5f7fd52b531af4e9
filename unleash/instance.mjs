// One Unleash server on a database that exists: DATABASE_URL, PORT and its tokens come by environment.
// Ends when its stdin does, so that it never outlives whoever started it.
import { start } from 'unleash-server';

const { PORT } = process.env;

const { server, stop } = await start({
  server: { port: Number(PORT), host: '127.0.0.1', gracefulShutdownEnable: false },
  logLevel: 'error',
});

process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })}\n`);

let ending = false;
async function end() {
  if (ending) return;
  ending = true;
  // SDKs keep connections open; nobody waits for them.
  server.closeAllConnections();
  await stop();
  process.exit(0);
}
process.on('SIGTERM', end);
process.on('SIGINT', end);
process.stdin.on('end', end);
process.stdin.resume();
