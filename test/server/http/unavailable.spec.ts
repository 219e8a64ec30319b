import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { startTestServer } from '../../support/http.ts';

describe('what cannot be had', () => {
  it('is one tenant alone where its file is damaged, with the reason in the log', async () => {
    const before = await startTestServer();
    const damaged = await before.createTenant({ name: 'Damaged' });
    const sound = await before.createTenant({ name: 'Sound' });
    await before.close();
    writeFileSync(join(before.dataDir, 'tenants', `${damaged.id}.db`), 'not a database at all');

    const server = await startTestServer({ dataDir: before.dataDir });
    const reply = await server.tenant(damaged.apiKey).get('/api/v1/configs');
    expect([reply.status, reply.body.code]).to.deep.equal([503, 'tenant_unavailable']);
    expect(reply.text).not.to.include(server.dataDir).and.not.to.include('SQLITE');
    expect((await server.tenant(sound.apiKey).get('/api/v1/configs')).status).to.equal(200);
    await server.fetch('/healthz');
    const line = server.logs().find(({ code }) => code === 'tenant_unavailable');
    expect(line).to.include({ level: 'warn', tenant_id: damaged.id });
    expect(JSON.stringify(line)).to.match(/not a database/);
    await server.stop();
  });

  it('is every tenant where control.db is lost: said in the log, and nothing is put in its place', async () => {
    const before = await startTestServer();
    await before.createTenant();
    await before.close();
    for (const suffix of ['', '-wal', '-shm'])
      rmSync(join(before.dataDir, `control.db${suffix}`), { force: true });

    const server = await startTestServer({ dataDir: before.dataDir });
    const line = await server.logged(({ level }) => level === 'warn');
    expect(JSON.stringify(line)).to.include('--rebuild-control');
    // Not the demo of a new folder either: the files' own tenants are to come back.
    expect((await server.admin.get('/api/v1/admin/tenants')).body.data).to.deep.equal([]);
    await server.stop();
  });

  it('is slowed down for an address that guesses admin tokens', async () => {
    const server = await startTestServer();
    const guess = (token: string) =>
      server.fetch('/api/v1/admin/tenants', { headers: { Authorization: `Bearer ${token}` } });
    const statuses: number[] = [];
    let limited = await guess('wrong-token-0000000');
    for (let count = 0; count < 30 && limited.status !== 429; count += 1) {
      statuses.push(limited.status);
      limited = await guess(`wrong-token-${String(count).padStart(7, '0')}x`);
    }
    expect(new Set(statuses)).to.deep.equal(new Set([401]));
    expect([limited.status, limited.body.code]).to.deep.equal([429, 'rate_limited']);
    expect(Number(limited.headers.get('retry-after'))).to.be.within(1, 60);
    await server.stop();
  });
});
