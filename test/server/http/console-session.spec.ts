import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { allEndpoints } from '../../../server/endpoints/index.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { createBrowser, signedIn } from '../../support/browser.ts';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';

const SESSION = '/console/session';
const ME = '/api/v1/me';
const TENANTS = '/api/v1/admin/tenants';
const UNKNOWN = '018f0000-0000-7000-8000-000000000000';
const MINUTE_MS = 60_000;

describe('sessions of the console', () => {
  let server: TestServer;
  let tenant: TestTenant;
  let aheadMs = 0;

  before(async () => {
    const clock = {
      now: () => systemClock.now() + aheadMs,
      monotonic: () => systemClock.monotonic() + aheadMs,
    };
    server = await startTestServer({ clock, env: { CORS_ORIGINS: 'https://app.example' } });
    tenant = await server.createTenant();
  });
  after(() => server.stop());

  const asOperator = () => signedIn(server.url, { admin_token: server.adminToken });
  const asTenant = (apiKey = tenant.apiKey) => signedIn(server.url, { api_key: apiKey });
  const auditOf = async (action: string): Promise<Json[]> =>
    (await server.admin.get(`/api/v1/admin/audit?action=${action}`)).body.data as Json[];

  describe('signing in', () => {
    it('turns an admin token into a session that says who it is', async () => {
      const browser = await asOperator();
      const { status, body } = await browser.call('GET', SESSION);
      expect(status).to.equal(200);
      expect(body).to.deep.include({ kind: 'operator', name: 'admin', role: 'owner', idle_seconds: 1800 });
      expect(body.csrf_token).to.equal(browser.csrfToken);
      expect((await browser.call('GET', TENANTS)).status).to.equal(200);
      expect((await browser.call('POST', TENANTS, { name: 'Made in the console' })).status).to.equal(201);
    });

    it("turns a tenant's key into a session with the scopes of the key", async () => {
      const { body: key } = await tenant.client.post('/api/v1/keys', { name: 'reader', scopes: ['read'] });
      const browser = await asTenant(String(key.api_key));
      const { body } = await browser.call('GET', SESSION);
      expect(body).to.deep.include({
        kind: 'tenant',
        name: 'reader',
        tenant: { id: tenant.id, name: 'Acme' },
        scopes: ['read'],
      });
      expect((await browser.call('GET', '/api/v1/configs')).status).to.equal(200);
      const { status, body: refused } = await browser.call('POST', '/api/v1/keys', { name: 'k' });
      expect([status, refused.code]).to.deep.equal([403, 'insufficient_scope']);
    });

    it('gives a cookie that no script reads and no other site sends, and that ends with the browser', async () => {
      const { setCookie } = await asOperator();
      expect(setCookie).to.match(/^nimblesite_session=nbc_\w+; Path=\/; HttpOnly; SameSite=Strict$/);
    });

    it('lets the cookie go over https alone where the browser came by it', async () => {
      const { host } = new URL(server.url);
      for (const header of [{ Origin: `https://${host}` }, { 'X-Forwarded-Proto': 'https' }]) {
        const browser = createBrowser(server.url);
        expect((await browser.signIn({ admin_token: server.adminToken }, header)).status).to.equal(201);
        expect(browser.setCookie).to.match(/; Secure$/);
      }
    });

    it('makes a new session each time, and the one before is dead', async () => {
      const browser = await asOperator();
      const { cookie } = browser;
      await browser.signIn({ admin_token: server.adminToken });
      expect(browser.cookie).not.to.equal(cookie);
      expect((await server.fetch(TENANTS, { headers: { Cookie: cookie } })).status).to.equal(401);
    });

    it('never takes a session that somebody else has chosen', async () => {
      const chosen = `nimblesite_session=nbc_${'0'.repeat(32)}_${'a'.repeat(49)}`;
      const browser = createBrowser(server.url);
      browser.cookie = chosen;
      expect((await browser.signIn({ admin_token: server.adminToken })).status).to.equal(201);
      expect(browser.cookie).not.to.equal(chosen);
      expect((await server.fetch(TENANTS, { headers: { Cookie: chosen } })).status).to.equal(401);
    });

    it('takes none of two cookies of the name, one of which a neighbour may have set', async () => {
      const [one, two] = [await asOperator(), await asOperator()];
      const headers = { Cookie: `${one.cookie}; ${two.cookie}` };
      expect((await server.fetch(TENANTS, { headers })).status).to.equal(401);
    });

    it('answers one 401 to whatever opens nothing, and gives no cookie', async () => {
      const crossed = [{ admin_token: tenant.apiKey }, { api_key: server.adminToken }];
      const answers = new Set<string>();
      for (const credentials of [...crossed, { admin_token: 'wrong' }, { api_key: 'nbs_wrong' }]) {
        const browser = createBrowser(server.url);
        const reply = await browser.signIn(credentials, { 'X-Request-Id': 'same' });
        expect(reply.status).to.equal(401);
        expect(browser.setCookie).to.equal('');
        answers.add(reply.text);
      }
      expect([...answers]).to.have.length(1);
    });

    it('refuses a body that has not exactly one credential', async () => {
      for (const body of [{}, { admin_token: 'a', api_key: 'b' }, { token: 'a' }, { api_key: 5 }]) {
        expect((await createBrowser(server.url).signIn(body)).status).to.equal(422);
      }
    });

    it('says that a tenant is suspended, and lets it in again', async () => {
      const other = await server.createTenant();
      const browser = await asTenant(other.apiKey);
      const setStatus = (status: string) => server.admin.patch(`${TENANTS}/${other.id}`, { status });
      await setStatus('suspended');
      for (const reply of [
        await browser.call('GET', SESSION),
        await browser.call('GET', ME),
        await createBrowser(server.url).signIn({ api_key: other.apiKey }),
      ]) {
        expect([reply.status, reply.body.code]).to.deep.equal([403, 'tenant_suspended']);
      }
      await setStatus('active');
      expect((await browser.call('GET', ME)).status).to.equal(200);
    });

    it('limits what is wrong by address, and never what is right', async () => {
      const slow = await startTestServer({ clock: { now: systemClock.now, monotonic: () => 0 } });
      try {
        for (const credentials of [{ api_key: 'nbs_wrong' }, { admin_token: 'wrong' }]) {
          let refused = await createBrowser(slow.url).signIn(credentials);
          for (let n = 0; n < 30 && refused.status === 401; n += 1) {
            refused = await createBrowser(slow.url).signIn(credentials);
          }
          expect([refused.status, refused.body.code]).to.deep.equal([429, 'rate_limited']);
          expect(Number(refused.headers.get('retry-after'))).to.be.greaterThan(0);
        }
        const { apiKey } = await slow.createTenant();
        await signedIn(slow.url, { api_key: apiKey });
        await signedIn(slow.url, { admin_token: slow.adminToken });
      } finally {
        await slow.stop();
      }
    });
  });

  describe('other sites', () => {
    const CROSS: Record<string, string>[] = [
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
      { Origin: 'http://127.0.0.1:1' },
      { 'Sec-Fetch-Site': 'cross-site' },
      { 'Sec-Fetch-Site': 'same-site' },
    ];

    it('cannot use a session, not even to read or with its token, nor sign somebody in', async () => {
      const browser = await asOperator();
      for (const headers of CROSS) {
        for (const { status, body } of [
          await browser.call('GET', TENANTS, undefined, headers),
          await browser.call('POST', TENANTS, { name: 'x' }, headers),
          await browser.call('DELETE', SESSION, undefined, headers),
          await browser.call('GET', SESSION, undefined, headers),
          await createBrowser(server.url).signIn({ admin_token: server.adminToken }, headers),
        ]) {
          expect([status, body.code], JSON.stringify(headers)).to.deep.equal([403, 'csrf_failed']);
        }
      }
      expect((await browser.call('GET', TENANTS)).status).to.equal(200);
    });

    it('are told from pages of this server by what the browser says', async () => {
      const browser = await asOperator();
      const own: Record<string, string>[] = [{ Origin: server.url }, { 'Sec-Fetch-Site': 'same-origin' }];
      for (const headers of own) {
        const { status } = await browser.call('POST', TENANTS, { name: 'x' }, headers);
        expect(status, JSON.stringify(headers)).to.equal(201);
      }
      const typed = { 'Sec-Fetch-Site': 'none' };
      expect((await browser.call('GET', TENANTS, undefined, typed)).status).to.equal(200);
      expect((await browser.call('POST', TENANTS, { name: 'x' }, typed)).status).to.equal(403);
    });

    it('are never allowed credentials, also where CORS lets them call the API', async () => {
      const browser = await asOperator();
      const headers = { Origin: 'https://app.example' };
      const reply = await browser.call('GET', TENANTS, undefined, headers);
      expect(reply.status).to.equal(403);
      const preflight = await server.fetch(TENANTS, {
        method: 'OPTIONS',
        headers: {
          ...headers,
          'Access-Control-Request-Method': 'POST',
          'Access-Control-Request-Headers': 'x-csrf-token',
        },
      });
      for (const { headers } of [reply, preflight]) {
        expect(headers.get('access-control-allow-credentials')).to.equal(null);
      }
      expect(preflight.headers.get('access-control-allow-headers')?.toLowerCase()).not.to.include('csrf');
    });

    it('lack the token that everything but a GET needs, on every route', async () => {
      const [operator, own] = [await asOperator(), await asTenant()];
      const ended = await asOperator();
      for (const { method, path, auth } of allEndpoints({ metricsPublic: false })) {
        if (auth === 'none' || method === 'GET') continue;
        const browser = auth === 'admin' ? operator : own;
        for (const token of ['', 'x', ended.csrfToken, browser.csrfToken.slice(0, -1)]) {
          const reply = await browser.call(
            method,
            path.replace(/:\w+/g, UNKNOWN),
            {},
            { 'X-CSRF-Token': token },
          );
          expect([reply.status, reply.body.code], `${method} ${path}`).to.deep.equal([403, 'csrf_failed']);
        }
      }
      for (const browser of [operator, own]) {
        const reply = await browser.call('DELETE', SESSION, undefined, { 'X-CSRF-Token': ended.csrfToken });
        expect([reply.status, reply.body.code]).to.deep.equal([403, 'csrf_failed']);
      }
    });
  });

  describe('a page whose session was replaced in another window', () => {
    it('reads nothing of the one who is signed in now', async () => {
      const other = await server.createTenant();
      const browser = await asTenant();
      const { csrfToken: before } = browser;
      expect((await browser.call('GET', ME, undefined, { 'X-CSRF-Token': before })).status).to.equal(200);
      await browser.signIn({ api_key: other.apiKey });
      for (const token of [before, '']) {
        const { status, body } = await browser.call('GET', ME, undefined, { 'X-CSRF-Token': token });
        expect([status, body.code]).to.deep.equal([403, 'csrf_failed']);
      }
      expect((await browser.call('GET', ME)).body.tenant).to.deep.include({ id: other.id });
    });
  });

  describe('what a session may do', () => {
    it('is what its key may: of another tenant, it sees what was never there', async () => {
      const configId = await server.createConfig(tenant.client, { name: 'CANARY' });
      const { body } = await tenant.client.chat(configId, { message: 'CANARY' });
      const stranger = await server.createTenant();
      const browser = await asTenant(stranger.apiKey);
      for (const { name, method, path, auth } of allEndpoints({ metricsPublic: false })) {
        if (auth !== 'tenant' || !path.includes(':')) continue;
        const id = path.includes('conversations') ? String(body.conversation_id) : configId;
        const ask = (id: string) =>
          browser.call(
            method,
            path.replace(/:\w+/, id),
            name === 'chat' ? { message: 'Hi' } : method === 'GET' || method === 'DELETE' ? undefined : {},
            { 'X-Request-Id': 'same' },
          );
        const [foreign, unknown] = [await ask(id), await ask(UNKNOWN)];
        expect(foreign.status, path).to.be.oneOf([404, 422]);
        expect(foreign.text, path).to.equal(unknown.text);
      }
      expect((await browser.call('GET', '/api/v1/configs')).text).not.to.include('CANARY');
    });

    it("is nothing of the other kind: no operator's page for a tenant, no tenant's for an operator", async () => {
      for (const [browser, path] of [
        [await asTenant(), TENANTS],
        [await asOperator(), ME],
      ] as const) {
        const { status, body } = await browser.call('GET', path);
        expect([status, body.code]).to.deep.equal([401, 'unauthorized']);
      }
    });

    it('counts for nothing beside a key or a token, also a wrong one', async () => {
      const browser = await asOperator();
      const wrong: Record<string, string>[] = [{ Authorization: 'Bearer wrong' }, { 'X-API-Key': '' }];
      for (const headers of wrong) {
        const { status } = await browser.call('GET', TENANTS, undefined, headers);
        expect(status).to.equal(401);
      }
    });

    it("is written in the audit under its credential's name, as signing in and out is", async () => {
      const browser = await asTenant();
      await browser.call('POST', '/api/v1/keys', { name: 'from the console' });
      const [made] = await auditOf('key.create');
      expect(made?.actor).to.deep.include({ name: 'default', kind: 'key' });
      await browser.call('DELETE', SESSION);
      for (const action of ['session.create', 'session.delete']) {
        const [row] = await auditOf(action);
        expect(row, action).to.deep.include({ tenant_id: tenant.id, changes: {} });
        expect(row?.actor).to.deep.include({ name: 'default', kind: 'key' });
      }
    });

    it('streams a turn', async () => {
      const browser = await asTenant();
      const configId = await server.createConfig(tenant.client, { name: 'Streams' });
      const { text } = await browser.call('POST', `/api/v1/chat/${configId}`, {
        message: 'Hi',
        stream: true,
      });
      expect(text)
        .to.match(/^event: start\n/)
        .and.to.match(/event: done\n/);
    });
  });

  describe('the end of a session', () => {
    it('comes with signing out, and its cookie goes', async () => {
      const browser = await asOperator();
      const { cookie } = browser;
      const reply = await browser.call('DELETE', SESSION);
      expect([reply.status, reply.text, browser.cookie]).to.deep.equal([204, '', '']);
      expect(browser.setCookie).to.match(/Max-Age=0/);
      const dead = createBrowser(server.url);
      dead.cookie = cookie;
      expect((await dead.call('GET', TENANTS)).status).to.equal(401);
      expect((await dead.call('GET', SESSION)).status).to.equal(401);
      expect(dead.cookie, 'a cookie that opens nothing is removed').to.equal('');
    });

    it('comes everywhere at once where that was asked for, and for nobody else', async () => {
      const [here, there, other] = [await asTenant(), await asTenant(), await asOperator()];
      expect((await here.call('DELETE', `${SESSION}?everywhere=false`)).status).to.equal(204);
      expect((await there.call('GET', ME)).status).to.equal(200);
      const third = await asTenant();
      expect((await there.call('DELETE', `${SESSION}?everywhere=true`)).status).to.equal(204);
      expect((await third.call('GET', ME)).status).to.equal(401);
      expect((await other.call('GET', TENANTS)).status).to.equal(200);
      expect((await tenant.client.get(ME)).status, 'the key itself goes on').to.equal(200);
      const [row = {}] = await auditOf('session.delete');
      expect((row.changes as Json).everywhere).to.be.greaterThan(1);
    });

    it('comes on the very next request after its key is revoked or rotated, or expires', async () => {
      const keys = `${TENANTS}/${tenant.id}/keys`;
      const expiresAt = new Date(systemClock.now() + aheadMs + 5 * MINUTE_MS).toISOString();
      const ways: ((id: string) => unknown)[] = [
        (id) => server.admin.delete(`${keys}/${id}`),
        (id) => server.admin.post(`${keys}/${id}/rotate`, {}),
        () => {
          aheadMs += 6 * MINUTE_MS;
        },
      ];
      for (const end of ways) {
        const { body } = await server.admin.post(keys, { name: 'k', expires_at: expiresAt });
        const browser = await asTenant(String(body.api_key));
        expect((await browser.call('GET', ME)).status).to.equal(200);
        await end(String(body.id));
        for (const path of [ME, SESSION]) {
          const { status, body: problem } = await browser.call('GET', path);
          expect([status, problem.code]).to.deep.equal([401, 'unauthorized']);
        }
      }
    });

    it('comes with the end of its admin token, and of its tenant', async () => {
      const { body: token } = await server.admin.post('/api/v1/admin/tokens', {
        name: 'Ada',
        role: 'auditor',
      });
      const auditor = await signedIn(server.url, { admin_token: token.token });
      expect((await auditor.call('POST', TENANTS, { name: 'x' })).body.code).to.equal('insufficient_scope');
      await server.admin.delete(`/api/v1/admin/tokens/${String(token.id)}`);
      expect((await auditor.call('GET', TENANTS)).status).to.equal(401);

      const other = await server.createTenant();
      const browser = await asTenant(other.apiKey);
      await server.admin.delete(`${TENANTS}/${other.id}`);
      expect((await browser.call('GET', ME)).status).to.equal(401);
      await server.admin.post(`${TENANTS}/${other.id}/undelete`, {});
      expect((await browser.call('GET', ME)).status, 'for good').to.equal(401);
    });

    it('comes after half an hour without a request, and after twelve hours with some', async () => {
      const [used, idle] = [await asOperator(), await asOperator()];
      for (let minutes = 0; minutes + 29 < 12 * 60; minutes += 29) {
        aheadMs += 29 * MINUTE_MS;
        expect((await used.call('GET', TENANTS)).status, `after ${minutes} minutes`).to.equal(200);
        if (minutes === 29) expect((await idle.call('GET', TENANTS)).status).to.equal(401);
      }
      aheadMs += 29 * MINUTE_MS;
      expect((await used.call('GET', TENANTS)).status).to.equal(401);
    });
  });

  it('outlive a restart, and are nowhere on the disk', async () => {
    const first = await startTestServer();
    const browser = await signedIn(first.url, { admin_token: first.adminToken });
    const secret = browser.cookie.split('_').at(-1) ?? '';
    expect(secret).to.have.length.greaterThan(40);
    await first.close();
    const files = readdirSync(first.dataDir, { recursive: true, withFileTypes: true });
    for (const file of files.filter((entry) => entry.isFile())) {
      const bytes = readFileSync(join(file.parentPath, file.name));
      expect(bytes.includes(secret), file.name).to.equal(false);
    }
    expect(JSON.stringify(first.logs())).not.to.include(secret).and.not.to.include(browser.csrfToken);
    const second = await startTestServer({ dataDir: first.dataDir });
    try {
      const headers = { Cookie: browser.cookie };
      expect((await second.fetch(TENANTS, { headers })).status).to.equal(200);
    } finally {
      await second.stop();
    }
  });
});
