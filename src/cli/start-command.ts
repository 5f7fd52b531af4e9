// `cutover start`: the proxy itself.
import { Command } from 'commander';
import { DEFAULT_CONFIG } from './local-config.ts';

const HELP = `
Logs JSON lines to stdout. SIGTERM and SIGINT drain and end it with 0, the same once more at once with 1; SIGHUP reads the configuration
and the certificates again. A file that is not valid does not start, and does not replace a running
configuration. One process holds the state folder; --take-over lets a new version start beside the
old one, which then is to be ended by SIGTERM.

Examples:
  cutover config check && cutover start
  cutover start --config deploy/cutover.yaml --take-over`;

/** `earlyRollbacks` as for `start`. */
export function startCommand(earlyRollbacks: () => number): Command {
  return new Command('start')
    .description('run the proxy in front of your services')
    .option('--config <file>', 'the configuration', DEFAULT_CONFIG)
    .option('--take-over', 'start beside a running proxy that is about to end', false)
    .addHelpText('after', HELP)
    .action(async ({ config, takeOver }: { config: string; takeOver: boolean }) => {
      const { start } = await import('../main.ts');
      const code = await start({ config, takeOver, earlyRollbacks, env: process.env });
      // What outlived the drain's deadline must not keep the process.
      process.exit(code);
    });
}
