import Database from 'better-sqlite3';
import { expect } from 'chai';
import { startTestServer } from '../support/http.ts';

describe('with the default settings', () => {
  it('every database that holds acknowledged writes syncs each commit to the disk', async () => {
    // Asked of every connection that is closed: what SQLite itself says its setting is (2 is FULL).
    const settings = new Map<string, number>();
    const { close } = Database.prototype;
    Database.prototype.close = function (this: Database.Database) {
      if (this.open) settings.set(this.name, Number(this.pragma('synchronous', { simple: true })));
      return close.call(this);
    };
    try {
      const server = await startTestServer();
      const tenant = await server.createTenant();
      const config = await server.createConfig(tenant.client);
      expect((await tenant.client.chat(config, { message: 'Hi' })).status).to.equal(200);
      await server.close();
      expect(settings.get(`${server.dataDir}/tenants/${tenant.id}.db`)).to.equal(2);
      expect(settings.get(`${server.dataDir}/control.db`)).to.equal(2);
      await server.stop();
    } finally {
      Database.prototype.close = close;
    }
  });
});
