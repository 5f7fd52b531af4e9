// `cutover <command>`. Commands that start something load it; all others ask a running proxy over its
// admin API, or read files.
import { Command } from 'commander';
import { auditCommand } from './cli/audit-command.ts';
import { bypassCommand } from './cli/bypass-command.ts';
import { configCommand } from './cli/config-command.ts';
import { evidenceCommand } from './cli/evidence-command.ts';
import { explainCommand } from './cli/explain-command.ts';
import { reportFailure } from './cli/failure.ts';
import { flagsCommand } from './cli/flags-command.ts';
import { isolationCommand } from './cli/isolation-command.ts';
import { noiseCommand } from './cli/noise-command.ts';
import { pinCommand, unpinCommand } from './cli/pin-command.ts';
import { proofCommand } from './cli/proof-command.ts';
import { proofText } from './cli/proof-text.ts';
import { releaseCommand, rollbackCommand } from './cli/rollback-command.ts';
import { stageCommand } from './cli/stage-command.ts';
import { startCommand } from './cli/start-command.ts';
import { statusCommand } from './cli/status-command.ts';
import { topCommand } from './cli/top-command.ts';
import { writesCommand } from './cli/writes-command.ts';
import { VERSION } from './control/version.ts';

const HELP = `
First steps:
  cutover demo                     two services, a proxy and 50 users, to try everything on
  cutover config check             is ./cutover.yaml right?
  cutover start                    run the proxy
  cutover stage                    where does the migration stand?
  cutover stage canary 5%          let the candidate serve 5% of the users
  cutover explain --user U --route R
  cutover rollback --reason "…"    everybody back to legacy, at once

Ends with 0 if all is well, 1 if something was refused or is not valid, 2 if nobody answers, 3 if a rollback
left something, 64 if the command was not understood; but compare ends with its own, see its help. Colours are
left out where NO_COLOR is set.`;

/** Of `cutover compare`. */
const COULD_NOT_TELL = 3;

/** Guests: only the one that is asked for is loaded. */
const GUESTS = {
  compare: {
    description: 'tell whether two running services answer their users alike',
    load: async () => (await import('./runs/compare-command.ts')).compareCommand(),
  },
  demo: {
    description: 'run both reference services, the proxy and synthetic users',
    load: async (earlyRollbacks: () => number) =>
      (await import('./runs/command.ts')).demoCommand(proofText, earlyRollbacks),
  },
  broadcaster: {
    description: 'run one of the reference services: legacy or ssot',
    load: async () => (await import('./broadcast/command.ts')).broadcasterCommand(),
  },
} as const;

/**
 * Runs a command line (`process.argv`) and sets the exit code. `earlyRollbacks` ends the watch for SIGUSR2 that
 * began before anything was loaded, and says how many came.
 */
export async function run(
  argv: readonly string[],
  earlyRollbacks: () => number = () => 0,
): Promise<void> {
  if (argv[2] === 'compare') keepVerdict();
  else {
    // `cutover status | head` closes our stdout early; that is no failure.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      process.exit(error.code === 'EPIPE' ? 0 : 1);
    });
  }
  try {
    const program = await createProgram(argv.slice(2), earlyRollbacks);
    await program.parseAsync([...argv]);
  } catch (error) {
    const code = reportFailure(error);
    // Its 1 and 2 are about the services: a mistyped option must not be read as one of those.
    process.exitCode = code !== 0 && argv[2] === 'compare' ? COULD_NOT_TELL : code;
  }
}

/**
 * The exit code of `cutover compare` is about the services and nothing else: what goes wrong here is never one
 * of its 0, 1 or 2. Whoever does not read the verdict still gets it as the code: the reports are written by then.
 */
function keepVerdict(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.stderr.write(`the verdict can not be printed: ${error.code}\n`);
    process.exit(process.exitCode ?? COULD_NOT_TELL);
  });
  // What it says on the way may stay unread: `2>&1 | true`.
  process.stderr.on('error', () => undefined);
  process.on('uncaughtException', error => {
    reportFailure(error);
    process.exit(COULD_NOT_TELL);
  });
}

async function createProgram(
  words: readonly string[],
  earlyRollbacks: () => number,
): Promise<Command> {
  const program = new Command('cutover')
    .description(
      'moves live HTTP and WebSocket users from a legacy service to its replacement, and back',
    )
    .version(VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'explain a command')
    .showHelpAfterError('(add --help for what is possible)')
    .addHelpText('after', HELP)
    .exitOverride()
    .addCommand(startCommand(earlyRollbacks));
  for (const [name, guest] of Object.entries(GUESTS)) {
    const asked = words[0] === name || (words[0] === 'help' && words[1] === name);
    program.addCommand(
      asked ? await guest.load(earlyRollbacks) : new Command(name).description(guest.description),
    );
  }
  program
    .addCommand(stageCommand())
    .addCommand(statusCommand())
    .addCommand(topCommand())
    .addCommand(explainCommand())
    .addCommand(evidenceCommand())
    .addCommand(isolationCommand())
    .addCommand(noiseCommand())
    .addCommand(pinCommand())
    .addCommand(unpinCommand())
    .addCommand(bypassCommand())
    .addCommand(writesCommand())
    .addCommand(rollbackCommand())
    .addCommand(releaseCommand())
    .addCommand(proofCommand())
    .addCommand(auditCommand())
    .addCommand(flagsCommand())
    .addCommand(configCommand());
  adopt(program);
  return program;
}

/** Commands that were made apart fail like the program: by an exception, not by leaving the process. */
function adopt(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    adopt(command);
  }
}
