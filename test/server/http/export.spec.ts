import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { filesIn, inDatabase } from '../../support/files.ts';
import { type Reply, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';
import { until } from '../../support/tenant-files.ts';

describe('an export', () => {
  let server: TestServer;
  let tenant: TestTenant;
  let configId: string;

  beforeEach(async () => {
    server = await startTestServer();
    tenant = await server.createTenant({ name: 'Acmé & "Söhne" ../x' });
    configId = await server.createConfig(tenant.client, { name: 'canary-of-the-first' });
  });
  afterEach(() => server.stop());

  const adminPath = () => `/api/v1/admin/tenants/${tenant.id}/export`;
  const unfinished = () => filesIn(server.dataDir).filter((name) => /^tmp\/|creating/.test(name));
  const codeOf = ({ status, body }: Reply) => [status, body.code];

  /** Asks for an export and takes nothing of its body. */
  const begin = () =>
    new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest(`${server.url}/api/v1/export`, { headers: { 'X-API-Key': tenant.apiKey } }, resolve)
        .on('error', reject)
        .end();
    });

  /** Data that no socket buffer holds. */
  const grow = async () => {
    for (let count = 0; count < 12; count += 1) {
      await tenant.client.chat(configId, { message: 'x'.repeat(900_000) });
    }
  };

  it('is one whole file with length, digest, ETag and a name that is safe, and is gone afterwards', async () => {
    for (const reply of [
      await server.download(adminPath()),
      await server.download('/api/v1/export', { 'X-API-Key': tenant.apiKey }),
    ]) {
      const { status, headers, bytes } = reply;
      const hash = createHash('sha256').update(bytes).digest();
      expect(status).to.equal(200);
      expect(headers.get('content-type')).to.equal('application/vnd.sqlite3');
      expect(headers.get('content-length')).to.equal(String(bytes.length));
      expect(headers.get('repr-digest')).to.equal(`sha-256=:${hash.toString('base64')}:`);
      expect(headers.get('digest')).to.equal(`sha-256=${hash.toString('base64')}`);
      expect(headers.get('etag')).to.equal(`"${hash.toString('hex')}"`);
      expect(headers.get('accept-ranges')).to.equal('none');
      expect(headers.get('content-disposition')).to.match(
        /^attachment; filename="acm-s-hne-\.*-*x-[\dTZ-]+\.db"$/,
      );
      inDatabase(bytes, (db) => {
        expect(db.pragma('integrity_check', { simple: true })).to.equal('ok');
        expect(db.prepare('SELECT name FROM configs').pluck().all()).to.deep.equal(['canary-of-the-first']);
      });
    }
    expect(unfinished()).to.deep.equal([]);
  });

  it('has nothing of another tenant, and no key', async () => {
    const other = await server.createTenant({ name: 'Globex' });
    await server.createConfig(other.client, { name: 'canary-of-the-second' });
    const first = await server.download('/api/v1/export', { 'X-API-Key': tenant.apiKey });
    const second = await server.download('/api/v1/export', { 'X-API-Key': other.apiKey });
    expect(first.bytes.includes('canary-of-the-first')).to.equal(true);
    expect(first.bytes.includes('canary-of-the-second')).to.equal(false);
    expect(second.bytes.includes('canary-of-the-second')).to.equal(true);
    expect(second.bytes.includes('canary-of-the-first')).to.equal(false);
    for (const { bytes } of [first, second]) expect(bytes.includes('nbs_')).to.equal(false);
  });

  it('is one at a time for each tenant, whoever asks', async () => {
    await grow();
    const held = await begin();
    const refused = await server.admin.get(adminPath());
    expect(codeOf(refused)).to.deep.equal([429, 'concurrency_limited']);
    expect(Number(refused.headers.get('retry-after'))).to.be.greaterThan(0);
    const other = await server.createTenant({ name: 'Globex' });
    expect((await server.download('/api/v1/export', { 'X-API-Key': other.apiKey })).status).to.equal(200);
    const ended = new Promise((resolve) => held.once('end', resolve));
    held.resume();
    await ended;
    expect((await server.download(adminPath())).status).to.equal(200);
  });

  it('holds nothing of the tenant while a client takes its time, and is gone when that client leaves', async () => {
    await grow();
    const held = await begin();
    expect(unfinished()).to.have.length(1);
    expect((await tenant.client.chat(configId, { message: 'hi' })).status).to.equal(200);
    const restored = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/backups`, {});
    expect(
      (await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/restore`, { backup_id: restored.body.id }))
        .status,
    ).to.equal(200);
    held.destroy();
    await server.logged((line) => line.route === '/api/v1/export' && line.status === 499);
    // Its file goes in the moment after that, and with it what keeps the next one from beginning.
    let again = await server.download(adminPath());
    while (again.status === 429) again = await server.download(adminPath());
    expect(again.status).to.equal(200);
    expect(unfinished()).to.deep.equal([]);
    expect(server.logs().filter(({ level }) => level === 'error')).to.deep.equal([]);
  });

  it('is whole however a client takes it', async () => {
    await grow();
    const held = await begin();
    const hash = createHash('sha256');
    for await (const part of held) {
      hash.update(part);
      // The server has written by then as much as the connection takes, and waits.
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(held.headers.etag).to.equal(`"${hash.digest('hex')}"`);
  });

  it('goes at the pace of the server, piece by piece', async () => {
    await server.stop();
    const asked: number[] = [];
    let goOn = (): void => {};
    const second = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    server = await startTestServer({
      filePace: async (bytes) => {
        asked.push(bytes);
        if (asked.length === 2) await second;
      },
    });
    tenant = await server.createTenant();
    const held = await begin();
    const [first = Number.NaN] = asked;
    let came = 0;
    held.on('data', (part: Buffer) => {
      came += part.length;
    });
    await until(() => came === first);
    const ended = once(held, 'end');
    goOn();
    await ended;
    expect(came).to.equal(Number(held.headers['content-length']));
    expect(asked.reduce((sum, each) => sum + each, 0)).to.equal(came);
  });

  it('is cut off where its tenant is purged, and nothing of it is left when that ends', async () => {
    await grow();
    const held = await begin();
    const cut = new Promise((resolve) => held.once('error', resolve));
    expect((await server.admin.delete(`/api/v1/admin/tenants/${tenant.id}?purge=true`)).status).to.equal(204);
    expect(unfinished()).to.deep.equal([]);
    held.resume();
    await cut;
    await server.logged((line) => line.route === '/api/v1/export' && line.status === 499);
  });

  it('that a dead process left half done is removed at the start', async () => {
    await server.close();
    mkdirSync(`${server.dataDir}/tmp/folder`, { recursive: true });
    writeFileSync(`${server.dataDir}/tmp/x.export`, 'half');
    server = await startTestServer({ dataDir: server.dataDir });
    expect(unfinished()).to.deep.equal([]);
  });

  it('is not made for who asks for the head alone', async () => {
    const before = filesIn(server.dataDir);
    for (const path of ['/api/v1/export', adminPath()]) {
      const { status, headers } = await fetch(`${server.url}${path}`, {
        method: 'HEAD',
        headers: { 'X-API-Key': tenant.apiKey, Authorization: `Bearer ${server.adminToken}` },
      });
      expect([status, headers.get('allow')], path).to.deep.equal([405, 'GET, OPTIONS']);
    }
    expect(filesIn(server.dataDir)).to.deep.equal(before);
    expect((await server.download(adminPath())).status, 'and lets the next one begin').to.equal(200);
  });

  it('is in the audit, with who asked for it', async () => {
    await server.download(adminPath());
    await server.download('/api/v1/export', { 'X-API-Key': tenant.apiKey });
    const db = new Database(`${server.dataDir}/control.db`, { readonly: true });
    const rows = db
      .prepare("SELECT actor_name, tenant_id FROM audit WHERE action = 'tenant.export' ORDER BY id")
      .all();
    db.close();
    expect(rows).to.deep.equal([
      { actor_name: 'admin', tenant_id: tenant.id },
      { actor_name: 'default', tenant_id: tenant.id },
    ]);
  });

  it('is, of a tenant that is not there, a 404', async () => {
    const reply = await server.admin.get('/api/v1/admin/tenants/nonsense/export');
    expect(codeOf(reply)).to.deep.equal([404, 'not_found']);
    expect((await server.download('/api/v1/export?x=1', { 'X-API-Key': tenant.apiKey })).status).to.equal(
      422,
    );
  });
});
