import { type DestinationStream, type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

export type Log = Logger;

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const CAUSES_MAX = 5;

/**
 * An error as it is logged: name, code, message and stack of it and of its causes. Never its other fields:
 * errors of HTTP clients carry requests, and those carry keys.
 */
export function errorFields(error: unknown, causesMax = CAUSES_MAX): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: `thrown, not an error: ${typeof error}` };
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const fields = { type: error.name, ...code, message: error.message, stack: error.stack };
  if (error.cause === undefined || causesMax === 0) return fields;
  return { ...fields, cause: errorFields(error.cause, causesMax - 1) };
}

/**
 * The server's log: JSON lines to `destination`, by default stderr, where a terminal gets readable lines.
 * An error belongs in the field `err`.
 */
export function createLog(options: { level: LogLevel; destination?: DestinationStream }): Log {
  // Standard output is for the few lines a person asked for by starting the server.
  const destination =
    options.destination ??
    (process.stderr.isTTY
      ? pretty({ destination: 2, sync: true, ignore: 'pid,hostname' })
      : pino.destination({ dest: 2, sync: false, minLength: 0 }));
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (error: unknown) => errorFields(error) },
    },
    destination,
  );
}
