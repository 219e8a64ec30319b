import fs, { readlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { startTestServer, type TestServer } from '../support/http.ts';

describe('with the default settings', () => {
  let server: TestServer;
  const { fdatasync } = fs;
  const { close } = Database.prototype;
  /** The files that were synced by other means than SQLite's, when that had ended. */
  const synced: string[] = [];
  // Asked of every connection that is closed: what SQLite itself says its setting is (1 is NORMAL, 2 is FULL).
  const settings = new Map<string, number>();

  before(async () => {
    fs.fdatasync = ((descriptor: number, done: fs.NoParamCallback) => {
      const path = readlinkSync(`/proc/self/fd/${descriptor}`);
      fdatasync(descriptor, (error) => {
        synced.push(path);
        done(error);
      });
    }) as typeof fdatasync;
    syncBuiltinESMExports();
    Database.prototype.close = function (this: Database.Database) {
      if (this.open) settings.set(this.name, Number(this.pragma('synchronous', { simple: true })));
      return close.call(this);
    };
    server = await startTestServer();
  });
  after(async () => {
    fs.fdatasync = fdatasync;
    syncBuiltinESMExports();
    Database.prototype.close = close;
    await server.stop();
  });

  it('an answered turn is on the disk, by one sync for its two commits', async () => {
    const tenant = await server.createTenant();
    const config = await server.createConfig(tenant.client);
    synced.length = 0;
    expect((await tenant.client.chat(config, { message: 'Hi' })).status).to.equal(200);
    expect(synced).to.deep.equal([`${server.dataDir}/tenants/${tenant.id}.db-wal`]);
  });

  it('the databases promise what they should: control.db by itself, tenants’ with those syncs', async () => {
    await server.close();
    expect(settings.get(`${server.dataDir}/control.db`)).to.equal(2);
    const tenants = [...settings].filter(([path]) => path.startsWith(`${server.dataDir}/tenants/`));
    expect(tenants.filter(([path]) => !path.includes('.creating')).map(([, level]) => level)).to.include(1);
  });
});
