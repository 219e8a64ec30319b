import { expect } from 'chai';
import { ConfigError, loadConfig } from '../../server/config.ts';

const WRONG: [variable: string, values: string[]][] = [
  ['PORT', ['-1', '65536', '80a', '8080.5', '1e3', ' 80']],
  ['HOST', ['a b', 'http://localhost/']],
  ['ADMIN_TOKEN', ['too-short', 'x'.repeat(513), `nbs_${'x'.repeat(20)}`, 'sixteen or more\n of them']],
  ['MASTER_KEY', ['short', 'x'.repeat(42), `${'ab'.repeat(31)}zz`, 'A'.repeat(45), `${'A'.repeat(44)}==`]],
  ['MASTER_KEY_PREVIOUS', ['a key', 'ab'.repeat(16)]],
  ['ALLOW_SERVER_KEYS', ['yes', 'no', '2']],
  ['MAX_OPEN_TENANTS', ['0', 'many']],
  ['TENANT_IDLE_SECONDS', ['-1', 'Infinity']],
  ['BODY_BYTES_MAX', ['0', '1MB', String(32 * 1024 * 1024 + 1)]],
  ['IMPORT_BYTES_MAX', ['0', '10 GiB']],
  ['HISTORY_BYTES_MAX', ['none']],
  ['BACKUP_EVERY', ['0', '-1', '15 m', '1w', '1.5h', 'never', '999d']],
  ['BACKUP_KEEP', ['0', 'all']],
  ['BACKUP_KEEP_DAILY', ['-1']],
  ['BACKUP_KEEP_WEEKLY', ['1.5']],
  ['TRASH_DAYS', ['-1', '30d']],
  ['LOG_DAYS', ['-1', '90d', 'never', '36501']],
  ['DISK_FREE_BYTES_MIN', ['1GB']],
  ['CORS_ORIGINS', ['*', 'example.com', 'https://example.com/', 'https://a.example,ftp://b.example']],
  ['CONSOLE_IDLE_SECONDS', ['0', '30m']],
  ['CONSOLE_SESSION_SECONDS', ['0.5', 'never']],
  ['METRICS_PUBLIC', ['yes', 'true']],
  ['LOG_LEVEL', ['verbose']],
  ['DURABILITY', ['FULL']],
  ['DRAIN_SECONDS', ['soon']],
  ['LOOP_DELAY_MAX_MS', ['0']],
  ['UPSTREAM_CONNECT_TIMEOUT_SECONDS', ['0', '1s']],
  ['UPSTREAM_IDLE_TIMEOUT_SECONDS', ['0']],
  ['UPSTREAM_TOTAL_TIMEOUT_SECONDS', ['99999999']],
  ['UPSTREAM_RETRIES', ['11', '-1']],
  ['OPENAI_API_KEY', ['with blank', 'línea']],
  ['OPENAI_BASE_URL', ['localhost:1234', 'ftp://example.com']],
  ['ANTHROPIC_BASE_URL', ['nowhere']],
  ['GROQ_API_KEY', ['a\nb']],
];

describe('loadConfig', () => {
  it('gives the documented defaults for an empty environment', () => {
    expect(loadConfig({})).to.include({
      port: 8080,
      host: '127.0.0.1',
      adminToken: null,
      openTenantsMax: 256,
      tenantIdleMs: 60_000,
      bodyBytesMax: 1_048_576,
      importBytesMax: 10_737_418_240,
      historyBytesMax: 8_388_608,
      backupEveryMs: null,
      backupKeep: 7,
      backupKeepDaily: 7,
      backupKeepWeekly: 4,
      trashKeepMs: 30 * 86_400_000,
      logKeepDays: 90,
      diskFreeBytesMin: 268_435_456,
      metricsPublic: false,
      durability: 'full',
      upstreamConnectMs: 10_000,
      upstreamIdleMs: 120_000,
      upstreamTotalMs: 600_000,
      upstreamRetries: 2,
      pricesFile: null,
    });
    expect(loadConfig({}).dataDir).to.match(/\/data$/);
  });

  it('takes an interval in seconds or with its unit', () => {
    const everyMs = (given: string) => loadConfig({ BACKUP_EVERY: given }).backupEveryMs;
    expect(['900', '900s', '15m', '24h', '7d'].map(everyMs)).to.deep.equal([
      900_000, 900_000, 900_000, 86_400_000, 604_800_000,
    ]);
  });

  it('takes an empty variable for one that is not set', () => {
    const empty = Object.fromEntries(WRONG.map(([name]) => [name, '']));
    expect(loadConfig({ ...empty, DATA_DIR: '' })).to.deep.equal(loadConfig({}));
  });

  for (const [variable, values] of WRONG) {
    it(`refuses a wrong ${variable} in one line that names it and does not repeat the value`, () => {
      for (const value of values) {
        const load = () => loadConfig({ [variable]: value });
        expect(load, value).to.throw(ConfigError, new RegExp(`^${variable} must be .+$`));
        try {
          load();
        } catch (error) {
          if (/^(ADMIN_TOKEN|MASTER_KEY.*|.*_API_KEY)$/.test(variable)) {
            expect(String(error)).not.to.include(value);
          }
        }
      }
    });
  }

  it('takes a master key as base64 or hexadecimal, and whether the server gives tenants its own keys', () => {
    const bytes = Buffer.alloc(32, 0xa5);
    for (const text of [bytes.toString('base64'), bytes.toString('base64url'), bytes.toString('hex')]) {
      expect(loadConfig({ MASTER_KEY: text }).masterKey?.equals(bytes), text).to.equal(true);
      expect(loadConfig({ MASTER_KEY_PREVIOUS: `${text}\n` }).masterKeyPrevious?.equals(bytes)).to.equal(
        true,
      );
    }
    const allowed = (given: string) => loadConfig({ ALLOW_SERVER_KEYS: given }).allowServerKeys;
    expect(['', 'true', '1', 'false', '0'].map(allowed)).to.deep.equal([true, true, true, false, false]);
  });

  it('takes fractions of seconds, lists of origins and a key and an address for each provider', () => {
    const config = loadConfig({
      UPSTREAM_TOTAL_TIMEOUT_SECONDS: '0.25',
      CORS_ORIGINS: 'https://a.example, http://localhost:3000',
      MISTRAL_API_KEY: 'k',
      OLLAMA_BASE_URL: 'http://127.0.0.1:11434/v1',
    });
    expect(config.upstreamTotalMs).to.equal(250);
    expect(config.corsOrigins).to.deep.equal(['https://a.example', 'http://localhost:3000']);
    expect(config.providers.mistral).to.deep.equal({ apiKey: 'k', baseUrl: null });
    expect(config.providers.ollama).to.deep.equal({ apiKey: null, baseUrl: 'http://127.0.0.1:11434/v1' });
  });
});
