import { expect } from 'chai';
import { type Json, startTestServer, type TestServer } from '../../support/http.ts';

const DEFAULTS = { log_content: false, redact_secrets: true };

describe("a tenant's settings", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server.stop());

  const path = (id: string) => `/api/v1/admin/tenants/${id}`;

  it('are given, read and changed one by one; null is the default again', async () => {
    const plain = await server.createTenant();
    expect((await server.admin.get(path(plain.id))).body.settings).to.deep.equal(DEFAULTS);
    const { id } = await server.createTenant({ settings: { log_content: true } });
    const set = async (settings: Json) => (await server.admin.patch(path(id), { settings })).body.settings;
    expect(await set({})).to.deep.equal({ ...DEFAULTS, log_content: true });
    expect(await set({ redact_secrets: false })).to.deep.equal({ log_content: true, redact_secrets: false });
    expect(await set({ log_content: null })).to.deep.equal({ log_content: false, redact_secrets: false });
    expect((await server.admin.get(path(id))).body.settings).to.deep.equal({
      log_content: false,
      redact_secrets: false,
    });
    const listed = (await server.admin.get('/api/v1/admin/tenants')).body.data as Json[];
    expect(listed.every(({ settings }) => typeof settings === 'object')).to.equal(true);
  });

  it('refuse what is no setting', async () => {
    const { id } = await server.createTenant();
    for (const settings of [{ log_content: 'yes' }, { log_everything: true }, null, []]) {
      const { status, body } = await server.admin.patch(path(id), { settings });
      expect([status, body.code], JSON.stringify(settings)).to.deep.equal([422, 'validation_failed']);
    }
    expect((await server.admin.get(path(id))).body.settings).to.deep.equal(DEFAULTS);
  });

  it('go along with a clone as limits do, and not with an import', async () => {
    const limits = { requests_per_minute: 7 };
    const { id } = await server.createTenant({ limits, settings: { log_content: true } });
    const clone = (await server.admin.post(`${path(id)}/clone`, { name: 'Staging' })).body;
    expect(clone.settings).to.deep.equal({ ...DEFAULTS, log_content: true });
    expect(clone.limits).to.include(limits);
    const imported = await server.upload('Again', (await server.download(`${path(id)}/export`)).bytes);
    expect(imported.body.settings).to.deep.equal(DEFAULTS);
  });
});
