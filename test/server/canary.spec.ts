import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { findSecrets, type Secrets } from '../support/canary.ts';
import { type Json, request } from '../support/http.ts';
import { type ServerProcess, startServerProcess } from '../support/process.ts';
import { temporaryFolder } from '../support/tenants.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

/** A secret that stands nowhere else. */
const canary = (mark: string) => `${mark}${randomBytes(24).toString('hex')}`;
/** The part of a key or a token that opens something. */
const secretOf = (text: string) => text.slice(text.lastIndexOf('_') + 1);

describe('secrets', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let upstream: Upstream;
  let server: ServerProcess | null;
  beforeEach(async () => {
    folder = temporaryFolder();
    upstream = await startUpstream();
    server = null;
  });
  afterEach(async () => {
    await server?.end('SIGKILL');
    await upstream.close();
    folder.remove();
  });

  it('are found in every form by the search itself', () => {
    const secret = canary('sk-');
    const secrets: Secrets = { secret };
    expect(findSecrets(folder.path, '', secrets)).to.deep.equal([]);
    const before = 'what stands before'.repeat(3);
    for (const shift of [0, 1, 2]) {
      const bytes = Buffer.from(`${before.slice(shift)}${secret} and what stands after`);
      const forms = [bytes, bytes.toString('base64'), bytes.toString('base64url'), bytes.toString('hex')];
      for (const form of forms) {
        writeFileSync(join(folder.path, 'file'), form);
        expect(findSecrets(folder.path, '', secrets)).to.deep.equal(['secret in file']);
      }
    }
    expect(findSecrets(join(folder.path), `x=${encodeURIComponent(secret)}`, secrets)).to.include(
      'secret in the output',
    );
  });

  it('stand in no file and no output of the server, whatever it is asked for', async function () {
    // Two starts of a process, and a copy of a file that is made in one more.
    this.timeout(120_000);
    const dataDir = join(folder.path, 'data');
    const masterKey = randomBytes(32);
    const adminToken = canary('chosen-admin-token-');
    const secrets: Secrets = {
      'the master key': masterKey,
      'the admin token': adminToken,
      "the server's key at openai": canary('sk-server-'),
      "the server's key at anthropic": canary('sk-ant-'),
      "the tenant's key at openai": canary('sk-own-'),
      "the tenant's key at xai": canary('xai-own-'),
      'a wrong admin token': canary('wrong-admin-'),
      'a wrong key': canary('nbs_wrong'),
      'a key in an address': canary('sk-address-'),
      'a key in a bad body': canary('sk-body-'),
    };
    const text = (name: string) => String(secrets[name]);
    const env = {
      PORT: '0',
      DATA_DIR: dataDir,
      LOG_LEVEL: 'trace',
      MASTER_KEY: masterKey.toString('base64'),
      OPENAI_API_KEY: text("the server's key at openai"),
      OPENAI_BASE_URL: upstream.openaiUrl,
      ANTHROPIC_API_KEY: text("the server's key at anthropic"),
      ANTHROPIC_BASE_URL: upstream.anthropicUrl,
      XAI_BASE_URL: upstream.openaiUrl,
      UPSTREAM_RETRIES: '0',
    };

    server = await startServerProcess({ env });
    const firstRun = server.output();
    const [madeToken = ''] = /nba_\w+/.exec(firstRun) ?? [];
    const [madeKey = ''] = /nbs_\w+/.exec(firstRun) ?? [];
    expect([madeToken, madeKey]).not.to.include('');
    secrets['the first admin token'] = secretOf(madeToken);
    secrets["the demo tenant's key"] = secretOf(madeKey);
    await server.end('SIGTERM');
    // These two are shown once.
    const shownOnce = firstRun.replaceAll(madeToken, '').replaceAll(madeKey, '');
    expect(findSecrets(dataDir, shownOnce, secrets)).to.deep.equal([]);

    server = await startServerProcess({ env: { ...env, ADMIN_TOKEN: adminToken } });
    const { url } = server;
    const call = async (method: string, path: string, credentials: Record<string, string>, body?: unknown) =>
      (
        await request(`${url}${path}`, {
          method,
          headers: { ...credentials, 'Content-Type': 'application/json' },
          ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        })
      ).body;
    const ADMIN = { Authorization: `Bearer ${adminToken}` };
    const admin = (method: string, path: string, body?: unknown) =>
      call(method, `/api/v1/admin/${path}`, ADMIN, body);
    let keys = 0;
    const keep = (body: Json, field: 'api_key' | 'token'): string => {
      const given = String(body[field]);
      expect(given).to.match(/^nb[as]_/);
      keys += 1;
      secrets[`${field} ${keys}`] = secretOf(given);
      return given;
    };

    const tenant = await admin('POST', 'tenants', { name: 'Acme', settings: { log_content: true } });
    const own = { 'X-API-Key': keep(tenant, 'api_key') };
    const at = `tenants/${String(tenant.id)}`;
    const made = await admin('POST', `${at}/keys`, { name: 'site' });
    keep(made, 'api_key');
    keep(await admin('POST', `${at}/keys/${made.id}/rotate`, { overlap_seconds: 600 }), 'api_key');
    const mine = await call('POST', '/api/v1/keys', own, { name: 'mine' });
    keep(mine, 'api_key');
    await call('DELETE', `/api/v1/keys/${mine.id}`, own);
    keep(await admin('POST', 'tokens', { name: 'operator', role: 'operator' }), 'token');

    const config = async (provider: string) =>
      String(
        (
          await call('POST', '/api/v1/configs', own, {
            name: provider,
            system_prompt: 'x',
            model_config: { provider, model: 'test' },
          })
        ).id,
      );
    const [openai, anthropic, xai] = [await config('openai'), await config('anthropic'), await config('xai')];
    const chat = (id: string, stream = false) =>
      stream
        ? fetch(`${url}/api/v1/chat/${id}`, {
            method: 'POST',
            headers: { ...own, 'Content-Type': 'application/json' },
            body: JSON.stringify({ message: 'Hello', stream }),
          }).then((response) => response.text())
        : call('POST', `/api/v1/chat/${id}`, own, { message: 'Hello' });
    const allWays = async () => {
      for (const id of [openai, anthropic, xai]) {
        await chat(id);
        await chat(id, true);
        // A provider that says the key in its refusal.
        upstream.script(
          { status: 401, echoKey: true },
          { status: 500, echoKey: true },
          { status: 429, echoKey: true },
        );
        for (let turn = 0; turn < 3; turn += 1) await chat(id, turn === 1);
      }
    };
    await allWays();
    const putKey = (name: string) => ({ api_key: text(`the tenant's key at ${name}`) });
    await admin('PUT', `${at}/providers/openai`, putKey('openai'));
    await call('PUT', '/api/v1/providers/xai', own, putKey('xai'));
    await allWays();
    await call('GET', '/api/v1/providers', own);

    const bad = text('a key in a bad body');
    await call('PUT', '/api/v1/providers/openai', own, { api_key: `${bad} with blanks` });
    await call('PUT', '/api/v1/providers/openai', own, `{"api_key": "${bad}"`);
    await call('PUT', '/api/v1/providers/openai', own, { api_key: 'x'.repeat(12), [bad]: bad });
    const address = text('a key in an address');
    await call('GET', `/api/v1/me?api_key=${address}`, own);
    await call('GET', `/api/v1/nowhere/${address}`, own);
    await call('GET', `/api/v1/configs/${address}`, own);
    for (const wrong of ['a wrong admin token', 'a wrong key']) {
      await call('GET', '/api/v1/me', { 'X-API-Key': text(wrong) });
      await call('GET', '/api/v1/admin/tenants', { Authorization: `Bearer ${text(wrong)}` });
    }

    await admin('POST', `${at}/backups`);
    for (const path of ['audit', 'usage', 'stats', 'fleet', 'tenants', `${at}/keys`, 'tokens']) {
      await admin('GET', path);
    }
    await request(`${url}/api/v1/admin/doctor`, { method: 'POST', headers: ADMIN });
    expect(findSecrets(dataDir, server.output(), secrets), 'while it runs').to.deep.equal([]);
    await admin('DELETE', at);
    keep(await admin('POST', `${at}/undelete`), 'api_key');
    await server.end('SIGTERM');

    // Two providers with the server's keys, then one more, each five times.
    expect(upstream.requests.length).to.equal(5 * (2 + 3));
    expect(keys).to.equal(6);
    expect(server.output().length).to.be.greaterThan(10_000);
    expect(findSecrets(dataDir, server.output(), secrets), 'when it has ended').to.deep.equal([]);
  });
});
