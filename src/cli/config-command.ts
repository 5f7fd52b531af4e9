// `cutover config`: checks a configuration before it is used, and helps to write one.
import { Command } from 'commander';
import { configJsonSchema } from '../config/json-schema.ts';
import { type Checked, checkConfig } from '../config/load.ts';
import { problemText } from '../config/problem.ts';
import { DEFAULT_CONFIG } from './local-config.ts';
import { paint, print } from './output.ts';

const CHECK_HELP = `
Reads the file, the files that it names and the environment, as a start would, and tells every problem
at once: file:line:column, field, and what would be right. Ends with 1 if there is one; warnings alone
are 0.

Examples:
  cutover config check
  UPSTREAM=http://10.0.0.5 cutover config check deploy/cutover.yaml`;

const SCHEMA_HELP = `
Example, for editors with a YAML language server:
  cutover config schema > cutover.schema.json
  # first line of cutover.yaml:  # yaml-language-server: $schema=./cutover.schema.json`;

export function configCommand(): Command {
  const check = new Command('check')
    .description('check a configuration file')
    .argument('[file]', `the file (default: ${DEFAULT_CONFIG})`)
    .option('--config <file>', 'the file, as start takes it')
    .option('--json', 'print problems and warnings as JSON')
    .addHelpText('after', CHECK_HELP)
    .action(async (named: string | undefined, words: { config?: string; json?: boolean }) => {
      const { config, json = false } = words;
      const file = named ?? config ?? DEFAULT_CONFIG;
      const checked = await checkConfig(file, process.env);
      print(checked, json, found => checkText(file, found));
      if (!checked.ok) process.exitCode = 1;
    });
  const schema = new Command('schema')
    .description('print the JSON Schema of the configuration, for editors')
    .option('--json', 'no difference: it is JSON anyway')
    .addHelpText('after', SCHEMA_HELP)
    .action(() => {
      print(configJsonSchema(), true, String);
    });
  return new Command('config')
    .description('check a configuration, or print its schema')
    .addCommand(check)
    .addCommand(schema);
}

function checkText(file: string, { ok, problems, warnings, noise }: Checked): string {
  const lines = [
    ...problems.map(problem => `${paint('red', 'error')} ${problemText(problem)}`),
    ...warnings.map(warning => `${paint('yellow', 'warning')} ${problemText(warning)}`),
  ];
  for (const { route, fields, measuredAt } of Object.values(noise)) {
    const at = new Date(measuredAt).toISOString();
    const types = new Set(fields.map(({ eventType }) => eventType));
    lines.push(
      `route ${route} excuses the values of ${fields.length} fields of ${types.size} event types as noise, as measured ${at}`,
    );
  }
  const count = `${problems.length} errors, ${warnings.length} warnings`;
  return [...lines, `${file}: ${ok ? 'can be used' : 'can not be used'}; ${count}`].join('\n');
}
