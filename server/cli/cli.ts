import { Command, CommanderError, Option } from 'commander';
import { ConfigError } from '../config.ts';
import { addAdminTokenCommands, addMasterKeyCommands, addProviderKeyCommands } from './commands/admin.ts';
import { addBackupCommands } from './commands/backups.ts';
import { addFleetCommands } from './commands/fleet.ts';
import { addKeyCommands } from './commands/keys.ts';
import { addLogCommands } from './commands/logs.ts';
import { addAuditCommands, addUsageCommands } from './commands/records.ts';
import { addTenantCommands } from './commands/tenants.ts';
import { completionScript, SHELLS } from './completion.ts';
import { CliError, EXIT, type ExitCode, type Io } from './io.ts';
import { inSession, type Work } from './session.ts';

/** A command that works on a server's data. */
export interface LeafDefinition<Options> {
  /** Its name and arguments. */
  usage: string;
  /** Whether it is meant where its own name is left out. */
  isDefault?: boolean;
  summary: string;
  options?: readonly Option[];
  /** Without the names before its own. */
  examples: readonly string[];
  /** Whether it may make the data folder. */
  mayCreate?: boolean;
  run: Work<Options>;
}
export type Leaf = <Options extends object = object>(definition: LeafDefinition<Options>) => void;

const EXIT_CODES = `
Exit codes: 0 done · 1 failed · 2 wrong usage or setting · 3 not found · 4 refused · 5 some tenants have failed or
doctor has found something · 6 no server or no admin token`;

const examplesText = (prefix: string, examples: readonly string[]): string =>
  `\nExamples:\n${examples.map((example) => `  ${prefix}${example}\n`).join('')}`;

const EXAMPLES_OF_GROUP = 4;

const dataDirOption = () =>
  new Option('--data-dir <folder>', 'the folder of all databases; default: DATA_DIR, or data');

const commonOptions = () => [
  dataDirOption(),
  new Option('--url <url>', 'a server to speak to; default: NIMBLESITE_URL, or the one that owns the folder'),
  new Option('--admin-token-file <file>', 'a file with the admin token; default: ADMIN_TOKEN itself'),
  new Option(
    '--json',
    'write the result as JSON, and nothing else, to standard output; an error to standard error',
  ),
];

/**
 * The whole tree of commands.
 * @param isJson keeps texts about wrong usage away
 * @param done is told what a command ended with
 */
function buildProgram(io: Io, isJson: boolean, done: (code: ExitCode) => void): Command {
  const program = new Command('nimblesite')
    .description('Tenants of an AI agent gateway, each a SQLite file of its own.')
    .exitOverride()
    .showHelpAfterError('Say --help for what there is.')
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => {
        if (!isJson) io.stderr.write(text);
      },
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
    })
    .addHelpText(
      'after',
      `${examplesText('nimblesite ', ['serve', 'tenant create Acme', 'status --json'])}
Commands go to the server that owns the folder, with the admin token; where none runs they do the work themselves.
${EXIT_CODES}`,
    );

  const defaults = new Set<Command>();
  const leafUnder = (parent: Command, prefix: string): Leaf => {
    const examples: string[] = [];
    if (parent !== program) {
      parent.addHelpText('after', () =>
        examplesText(`nimblesite ${prefix}`, examples.slice(0, EXAMPLES_OF_GROUP)),
      );
    }
    return (definition) => {
      const command = parent
        .command(definition.usage, { isDefault: definition.isDefault ?? false })
        .description(definition.summary)
        .allowExcessArguments(false);
      for (const option of [...(definition.options ?? []), ...commonOptions()]) command.addOption(option);
      command.addHelpText('after', examplesText(`nimblesite ${prefix}`, definition.examples));
      command.action(inSession(io, done, definition.run, { mayCreate: definition.mayCreate ?? false }));
      examples.push(...definition.examples.slice(0, 1));
      if (!definition.isDefault) return;
      defaults.add(command);
      const full = `${prefix}${command.name()}`;
      parent.addHelpText(
        'after',
        `\n"nimblesite ${prefix.trim()}" means "nimblesite ${full}"; see nimblesite ${full} --help`,
      );
    };
  };

  program
    .command('serve')
    .description('serve until a signal ends it; every setting is an environment variable')
    .addOption(dataDirOption())
    .option('--port <port>', 'default: PORT, or 8080')
    .option('--host <host>', 'default: HOST, or 127.0.0.1')
    .addHelpText(
      'after',
      examplesText('nimblesite ', ['serve', 'serve --port 9000 --data-dir /srv/nimblesite']),
    )
    .action(async (options: { dataDir?: string; port?: string; host?: string }) => {
      const { dataDir: DATA_DIR, port: PORT, host: HOST } = options;
      // Most commands need no server of their own.
      const { serve } = await import('../serve.ts');
      await serve({ ...io.env, ...(DATA_DIR && { DATA_DIR }), ...(PORT && { PORT }), ...(HOST && { HOST }) });
    });
  const tenant = program.command('tenant').description("tenants, and what is done with a tenant's file");
  const tenantLeaf = leafUnder(tenant, 'tenant ');
  addTenantCommands(tenantLeaf);
  addBackupCommands(tenantLeaf);
  addKeyCommands(leafUnder(program.command('key').description('API keys of a tenant'), 'key '));
  addLogCommands(leafUnder(program.command('logs').description('the log rows of tenants'), 'logs '));
  addUsageCommands(leafUnder(program.command('usage').description('what tenants have used'), 'usage '));
  addAuditCommands(leafUnder(program.command('audit').description('who did what'), 'audit '));
  const providerKey = program.command('provider-key').description("tenants' own keys at providers");
  addProviderKeyCommands(leafUnder(providerKey, 'provider-key '));
  const adminToken = program.command('admin-token').description('who may administer the server');
  addAdminTokenCommands(leafUnder(adminToken, 'admin-token '));
  const masterKey = program.command('master-key').description("what tenants' provider keys are sealed with");
  addMasterKeyCommands(leafUnder(masterKey, 'master-key '));
  addFleetCommands(leafUnder(program, ''));
  program
    .command('completion')
    .description('print a script that completes commands in a shell')
    .addArgument(program.createArgument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      examplesText('', [
        'source <(nimblesite completion bash)',
        'source <(nimblesite completion zsh)',
        'nimblesite completion fish | source',
      ]),
    )
    .action((shell: (typeof SHELLS)[number]) => {
      io.stdout.write(completionScript(program, shell, defaults));
    });
  return program;
}

/**
 * Runs one command. Never throws: what went wrong is told on standard error, with `--json` as
 * `{"error": {"code", "message"}}`.
 * @param argv the arguments, without the program's own name
 * @returns the exit code
 */
export async function runCli(argv: readonly string[], io: Io): Promise<ExitCode> {
  let code: ExitCode = EXIT.ok;
  // Seen before anything is parsed: what cannot be parsed is told as JSON too.
  const isJson = argv.includes('--json');
  const program = buildProgram(io, isJson, (given) => {
    code = given;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    const exitCode = exitCodeOf(error);
    if (exitCode === EXIT.ok) return exitCode;
    const message = error instanceof Error ? error.message : String(error);
    if (isJson) {
      const told = error instanceof CliError ? error.code : null;
      io.stderr.write(`${JSON.stringify({ error: { code: told ?? CODE_BY_EXIT[exitCode], message } })}\n`);
    } else if (!(error instanceof CommanderError)) {
      // Commander has said what is wrong by itself.
      io.stderr.write(`${message}\n`);
    }
    return exitCode;
  }
}

function exitCodeOf(error: unknown): ExitCode {
  // Help that was asked for is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof CliError) return error.exitCode;
  return error instanceof ConfigError ? EXIT.usage : EXIT.failed;
}

/** What a script is told where the server has not said it. */
const CODE_BY_EXIT: Record<ExitCode, string> = {
  [EXIT.ok]: 'ok',
  [EXIT.failed]: 'failed',
  [EXIT.usage]: 'usage',
  [EXIT.notFound]: 'not_found',
  [EXIT.refused]: 'refused',
  [EXIT.someFailed]: 'some_failed',
  [EXIT.unreachable]: 'unreachable',
};
