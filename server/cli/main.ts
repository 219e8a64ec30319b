#!/usr/bin/env node
import { systemClock } from '../../tenant-schema/clock.ts';
import { processEnvironment } from '../config.ts';
import { runCli } from './cli.ts';

// Files that a command makes hold a customer's data.
process.umask(0o077);
// Whoever reads the output, such as `head`, may have enough of it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
process.exitCode = await runCli(process.argv.slice(2), {
  env: processEnvironment(),
  clock: systemClock,
  lockWaitMs: 5_000,
  loadServer: () => import('../server.ts'),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
});
