import { join, resolve } from 'node:path';
import { isAdminToken } from '../control-plane/admin-tokens.ts';
import { KEY_MARK } from '../control-plane/key-format.ts';
import { parseMasterKey } from '../control-plane/master-key.ts';
import type { SessionLimits } from '../control-plane/types.ts';
import { INPUT_BYTES_MAX } from '../tenant-schema/json.ts';
import { PROVIDER_NAMES, type ProviderName } from './providers/catalogue.ts';
import { LOG_LEVELS, type LogLevel } from './telemetry/log.ts';

/** Every setting of the server, read once at its start. */
export interface Config {
  port: number;
  host: string;
  /** How many processes serve requests; with 1 it is the server itself. */
  workers: number;
  /** Absolute. */
  dataDir: string;
  /** Replaces the stored token; null keeps it. */
  adminToken: string | null;
  /** Seals tenants' own provider keys; null: the one in `master.key`. */
  masterKey: Buffer | null;
  /** The one before it, to seal anew what it has sealed. */
  masterKeyPrevious: Buffer | null;
  /** Whether a tenant without a key of its own at a provider is served with the server's. */
  allowServerKeys: boolean;
  openTenantsMax: number;
  tenantIdleMs: number;
  bodyBytesMax: number;
  importBytesMax: number;
  historyBytesMax: number;
  /** Null: backups are made on demand only. */
  backupEveryMs: number | null;
  /** The newest backups that are kept of each tenant, and beside them one for each of the last days and weeks. */
  backupKeep: number;
  backupKeepDaily: number;
  backupKeepWeekly: number;
  /** A deleted tenant is purged after so long. */
  trashKeepMs: number;
  /** Log rows of so many whole days before today are kept; null keeps all. */
  logKeepDays: number | null;
  /** Copies of files are only made while so much stays free on the disk. */
  diskFreeBytesMin: number;
  /** Origins whose pages may call the API; none turns CORS off. */
  corsOrigins: string[];
  metricsPublic: boolean;
  /** How long sessions of the console last: without a request, and at most. */
  sessionLimits: SessionLimits;
  /** Where the console's page was built to; absolute. */
  consoleDir: string;
  logLevel: LogLevel;
  /** `full`: an acknowledged write survives a power cut. `normal`: it survives a crash of the process. */
  durability: 'full' | 'normal';
  drainMs: number;
  loopDelayMsMax: number;
  /** A `ping` goes out after so long a silence of an event stream. */
  pingMs: number;
  upstreamConnectMs: number;
  upstreamIdleMs: number;
  upstreamTotalMs: number;
  upstreamRetries: number;
  /** Prices of models that go before those the server came with; absolute. Null for none. */
  pricesFile: string | null;
  /** Null where the environment says nothing. */
  providers: Record<ProviderName, { apiKey: string | null; baseUrl: string | null }>;
}

/** Beside what this file was built to, or under where it would be. */
const CONSOLE_DIR = resolve(
  import.meta.dirname,
  import.meta.filename.endsWith('.ts') ? '../dist/console' : '../console',
);

/** A setting that cannot be used: one line that names the variable and what it may be, never its value. */
export class ConfigError extends Error {
  constructor(variable: string, allowed: string) {
    super(`${variable} must be ${allowed}`);
    this.name = 'ConfigError';
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const DAY_MS = 24 * 60 * 60 * 1000;
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
/** Longer timers than this overflow and fire at once. */
const SECONDS_MAX = 2_000_000;

/** Reads settings by name; an empty variable counts as unset. */
function reader(environment: Environment) {
  const text = (name: string): string | undefined => environment[name] || undefined;

  const number = (
    name: string,
    fallback: number,
    min: number,
    max: number,
    pattern: RegExp,
    kind: string,
  ) => {
    const given = text(name);
    if (given === undefined) return fallback;
    const value = pattern.test(given) ? Number(given) : Number.NaN;
    if (!(value >= min && value <= max)) throw new ConfigError(name, `${kind} from ${min} to ${max}`);
    return value;
  };

  return {
    text,
    integer: (name: string, fallback: number, min: number, max: number) =>
      number(name, fallback, min, max, /^\d{1,15}$/, 'a whole number'),
    /** Seconds, with a fraction where wanted, as milliseconds. */
    seconds: (name: string, fallback: number, min: number) =>
      Math.round(number(name, fallback, min, SECONDS_MAX, /^\d{1,9}(\.\d{1,6})?$/, 'seconds') * 1000),
    /** `900`, `15m`, `24h` or `7d`, as milliseconds; null where unset. */
    interval: (name: string): number | null => {
      const given = text(name);
      if (given === undefined) return null;
      const [, count, unit] = /^(\d{1,9})([smhd]?)$/.exec(given) ?? [];
      const seconds = Number(count) * (UNIT_SECONDS[unit ?? ''] ?? 1);
      if (!(seconds >= 1 && seconds <= SECONDS_MAX)) {
        throw new ConfigError(name, `seconds from 1 to ${SECONDS_MAX}, or a time such as 15m, 24h or 7d`);
      }
      return seconds * 1000;
    },
    flag: (name: string): boolean => {
      const given = text(name) ?? '0';
      if (given !== '0' && given !== '1') throw new ConfigError(name, '0 or 1');
      return given === '1';
    },
    boolean: (name: string, fallback: boolean): boolean => {
      const given = text(name) ?? String(fallback);
      if (!/^(?:true|false|1|0)$/.test(given)) throw new ConfigError(name, 'true or false');
      return given === 'true' || given === '1';
    },
    choice: <T extends string>(name: string, fallback: T, choices: readonly T[]): T => {
      const given = text(name) ?? fallback;
      const found = choices.find((choice) => choice === given);
      if (found === undefined) throw new ConfigError(name, `one of ${choices.join(', ')}`);
      return found;
    },
    accepted: (name: string, accepts: (given: string) => boolean, allowed: string): string | null => {
      const given = text(name);
      if (given === undefined) return null;
      if (!accepts(given)) throw new ConfigError(name, allowed);
      return given;
    },
  };
}

const dataDirOf = (read: Pick<ReturnType<typeof reader>, 'text'>): string =>
  resolve(read.text('DATA_DIR') ?? join('.', 'data'));

function masterKey(name: string, given: string | undefined): Buffer | null {
  if (given === undefined) return null;
  const bytes = parseMasterKey(given.trim());
  if (bytes === null)
    throw new ConfigError(name, '32 bytes as base64 (openssl rand -base64 32) or hexadecimal');
  return bytes;
}

const pathOf = (given: string | undefined): string | null => (given === undefined ? null : resolve(given));

function httpUrl(name: string, given: string | undefined): string | null {
  if (given === undefined) return null;
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new ConfigError(name, 'a URL that begins with http:// or https://');
  }
  return given;
}

function origins(name: string, given: string | undefined): string[] {
  const list = (given ?? '').split(',').map((origin) => origin.trim());
  return list.filter(Boolean).map((origin) => {
    // Browsers send an origin in exactly this form, and it is compared as text.
    if (!URL.canParse(origin) || !/^https?:/.test(origin) || new URL(origin).origin !== origin) {
      throw new ConfigError(name, 'a comma-separated list of origins such as https://app.example.com');
    }
    return origin;
  });
}

/**
 * Reads the settings. @throws `ConfigError` for the first that cannot be used.
 */
export function loadConfig(environment: Environment = process.env): Config {
  const read = reader(environment);
  const providers = {} as Config['providers'];
  for (const name of PROVIDER_NAMES) {
    const prefix = name.toUpperCase();
    providers[name] = {
      apiKey: read.accepted(
        `${prefix}_API_KEY`,
        (given) => /^[\x21-\x7e]{1,4096}$/.test(given),
        'a key of printable characters without blanks',
      ),
      baseUrl: httpUrl(`${prefix}_BASE_URL`, read.text(`${prefix}_BASE_URL`)),
    };
  }
  return {
    port: read.integer('PORT', 8080, 0, 65_535),
    host:
      read.accepted(
        'HOST',
        (given) => /^[A-Za-z0-9._:%-]{1,255}$/.test(given),
        'a host name or an IP address',
      ) ?? '127.0.0.1',
    workers: read.integer('WORKERS', 1, 1, 64),
    dataDir: dataDirOf(read),
    adminToken: read.accepted(
      'ADMIN_TOKEN',
      isAdminToken,
      `16 to 512 printable ASCII characters, not with a blank at an end, and not begin with "${KEY_MARK}"`,
    ),
    masterKey: masterKey('MASTER_KEY', read.text('MASTER_KEY')),
    masterKeyPrevious: masterKey('MASTER_KEY_PREVIOUS', read.text('MASTER_KEY_PREVIOUS')),
    allowServerKeys: read.boolean('ALLOW_SERVER_KEYS', true),
    openTenantsMax: read.integer('MAX_OPEN_TENANTS', 256, 1, 100_000),
    tenantIdleMs: read.seconds('TENANT_IDLE_SECONDS', 60, 0),
    bodyBytesMax: read.integer('BODY_BYTES_MAX', MIB, 1, INPUT_BYTES_MAX),
    importBytesMax: read.integer('IMPORT_BYTES_MAX', 10 * GIB, 1, 1024 * GIB),
    historyBytesMax: read.integer('HISTORY_BYTES_MAX', 8 * MIB, 1, GIB),
    backupEveryMs: read.interval('BACKUP_EVERY'),
    backupKeep: read.integer('BACKUP_KEEP', 7, 1, 100_000),
    backupKeepDaily: read.integer('BACKUP_KEEP_DAILY', 7, 0, 10_000),
    backupKeepWeekly: read.integer('BACKUP_KEEP_WEEKLY', 4, 0, 10_000),
    trashKeepMs: read.integer('TRASH_DAYS', 30, 0, 36_500) * DAY_MS,
    // 0 is "for ever", as no file of a tenant should lose its rows by a setting that looks like "off".
    logKeepDays: read.integer('LOG_DAYS', 90, 0, 36_500) || null,
    diskFreeBytesMin: read.integer('DISK_FREE_BYTES_MIN', 256 * MIB, 0, 1024 * GIB),
    corsOrigins: origins('CORS_ORIGINS', read.text('CORS_ORIGINS')),
    metricsPublic: read.flag('METRICS_PUBLIC'),
    sessionLimits: {
      idleMs: read.seconds('CONSOLE_IDLE_SECONDS', 30 * 60, 1),
      lifetimeMs: read.seconds('CONSOLE_SESSION_SECONDS', 12 * 60 * 60, 1),
    },
    consoleDir: CONSOLE_DIR,
    logLevel: read.choice('LOG_LEVEL', 'info', LOG_LEVELS),
    durability: read.choice('DURABILITY', 'full', ['full', 'normal'] as const),
    drainMs: read.seconds('DRAIN_SECONDS', 30, 0),
    loopDelayMsMax: read.integer('LOOP_DELAY_MAX_MS', 500, 1, 60_000),
    pingMs: 15_000,
    upstreamConnectMs: read.seconds('UPSTREAM_CONNECT_TIMEOUT_SECONDS', 10, 0.001),
    upstreamIdleMs: read.seconds('UPSTREAM_IDLE_TIMEOUT_SECONDS', 120, 0.001),
    upstreamTotalMs: read.seconds('UPSTREAM_TOTAL_TIMEOUT_SECONDS', 600, 0.001),
    upstreamRetries: read.integer('UPSTREAM_RETRIES', 2, 0, 10),
    pricesFile: pathOf(read.text('PRICES_FILE')),
    providers,
  };
}

/** What a command needs to know before it knows whether there is a server. */
export interface ClientSettings {
  /** Absolute. */
  dataDir: string;
  /** Null: the server of `dataDir`, if one runs. */
  url: string | null;
  adminToken: string | null;
}

/** Reads a command's settings. @throws `ConfigError` for the first that cannot be used. */
export function loadClientSettings(environment: Environment): ClientSettings {
  const read = reader(environment);
  return {
    dataDir: dataDirOf(read),
    url: httpUrl('NIMBLESITE_URL', read.text('NIMBLESITE_URL')),
    adminToken: read.text('ADMIN_TOKEN') ?? null,
  };
}

/** For whoever has settings of its own beside those of the environment. */
export const processEnvironment = (): Environment => process.env;
