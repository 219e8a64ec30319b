import { randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { changed, filesIn } from '../../support/files.ts';
import {
  type Json,
  type Reply,
  startTestServer,
  type TestServer,
  type TestTenant,
} from '../../support/http.ts';

describe('an import', () => {
  let server: TestServer;
  let tenant: TestTenant;
  let configId: string;
  let file: Buffer;

  before(async () => {
    server = await startTestServer({ env: { IMPORT_BYTES_MAX: String(1024 * 1024) } });
    tenant = await server.createTenant({ name: 'Acme', limits: { requests_per_minute: 5 } });
    configId = await server.createConfig(tenant.client);
    await tenant.client.chat(configId, { message: 'remember me' });
    file = (await server.download('/api/v1/export', { 'X-API-Key': tenant.apiKey })).bytes;
  });
  after(() => server.stop());

  const codeOf = ({ status, body }: Reply) => [status, body.code];
  const tenants = async () =>
    ((await server.admin.get('/api/v1/admin/tenants?limit=100')).body.data as Json[]).length;
  /** Everything but the files that SQLite keeps beside an open one. */
  const files = () =>
    filesIn(server.dataDir).filter((name) => /^(tenants|tmp)/.test(name) && !/-(wal|shm)$/.test(name));

  it('makes a tenant with the data of the file, and a key, limits and counters of its own', async () => {
    const { status, body } = await server.upload('Moved here', file);
    expect(status).to.equal(201);
    expect(body).to.include({ name: 'Moved here', status: 'active' });
    expect((body.limits as Json).requests_per_minute).to.equal(null);
    expect(body.id).not.to.equal(tenant.id);
    const client = server.tenant(String(body.api_key));
    expect(((await client.get('/api/v1/me')).body.tenant as Json).name).to.equal('Moved here');
    const [conversation] = (await client.get('/api/v1/conversations')).body.data as Json[];
    const again = await client.chat(configId, { message: 'and?', conversation_id: conversation?.id });
    expect(again.status, again.text).to.equal(200);
    expect(
      (await tenant.client.get(`/api/v1/conversations/${conversation?.id}`)).body.message_count,
    ).to.equal(2);
  });

  it('takes the file under any content type, and from a client that waits to be asked', async () => {
    for (const type of ['application/octet-stream', 'application/json', 'text/plain', 'nonsense']) {
      expect((await server.upload('x', file, { 'Content-Type': type })).status, type).to.equal(201);
    }
    const ask = (length: number, query = '?name=x') =>
      new Promise<[boolean, number | undefined]>((resolve, reject) => {
        let continued = false;
        const outgoing = httpRequest(`${server.url}/api/v1/admin/tenants/import${query}`, {
          method: 'POST',
          headers: {
            Authorization: `Bearer ${server.adminToken}`,
            'Content-Length': length,
            Expect: '100-continue',
          },
        });
        outgoing.on('continue', () => {
          continued = true;
          outgoing.end(file);
        });
        outgoing.on('response', (response) => {
          response.resume();
          resolve([continued, response.statusCode]);
          outgoing.destroy();
        });
        outgoing.on('error', reject);
        outgoing.flushHeaders();
      });
    expect(await ask(file.length)).to.deep.equal([true, 201]);
    expect(await ask(2 * 1024 * 1024)).to.deep.equal([false, 413]);
    expect(await ask(file.length, '')).to.deep.equal([false, 422]);
  });

  const foreign = (): Buffer => {
    const db = new Database(':memory:');
    db.exec('CREATE TABLE recipes (title TEXT); PRAGMA user_version = 1');
    return db.serialize();
  };
  const HOSTILE: [what: string, bytes: () => Buffer, reason: RegExp][] = [
    ['no bytes at all', () => Buffer.alloc(0), /not a SQLite database/],
    ['random bytes', () => randomBytes(50_000), /not a SQLite database/],
    ['a text', () => Buffer.from('{"name":"x"}'), /not a SQLite database/],
    ['a file that was cut off', () => file.subarray(0, file.length - 5000), /damaged|cannot read|malformed/i],
    ["another program's database", foreign, /not a tenant of this program/],
    [
      'a newer version, with both versions named',
      () => changed(file, 'PRAGMA user_version = 99'),
      /version 99.*up to \d/,
    ],
    [
      'a trigger',
      () => changed(file, 'CREATE TRIGGER t AFTER INSERT ON turns BEGIN SELECT 1; END'),
      /trigger that does not belong/,
    ],
    ['a view', () => changed(file, 'CREATE VIEW v AS SELECT 1'), /view that does not belong/],
  ];
  for (const [what, bytes, reason] of HOSTILE) {
    it(`refuses ${what}, says why, and leaves nothing behind`, async () => {
      const before = { files: files(), tenants: await tenants() };
      const reply = await server.upload('Hostile', bytes());
      expect(codeOf(reply), reply.text).to.deep.equal([422, 'invalid_database']);
      expect(reply.body.detail).to.match(reason);
      expect({ files: files(), tenants: await tenants() }).to.deep.equal(before);
    });
  }

  it('refuses a file over IMPORT_BYTES_MAX, announced or not, and keeps the connection', async () => {
    const before = files();
    const large = Buffer.concat([file, Buffer.alloc(1024 * 1024)]);
    expect(codeOf(await server.upload('x', large))).to.deep.equal([413, 'body_too_large']);
    const chunked = new ReadableStream({
      start(controller) {
        for (let at = 0; at < large.length; at += 65_536) controller.enqueue(large.subarray(at, at + 65_536));
        controller.close();
      },
    });
    const unannounced = await server.fetch('/api/v1/admin/tenants/import?name=x', {
      method: 'POST',
      headers: { Authorization: `Bearer ${server.adminToken}` },
      body: chunked,
      duplex: 'half',
    } as RequestInit);
    expect(codeOf(unannounced)).to.deep.equal([413, 'body_too_large']);
    expect(files()).to.deep.equal(before);
  });

  it('is refused while four others come in, and again possible once one of them has ended', async () => {
    const begin = async () => {
      const outgoing = httpRequest(`${server.url}/api/v1/admin/tenants/import?name=x`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${server.adminToken}`, Expect: '100-continue' },
      });
      // Once it is asked for its file, it is one of those that come in.
      await new Promise<void>((resolve, reject) => {
        outgoing.on('continue', resolve);
        outgoing.on('error', reject);
        outgoing.flushHeaders();
      });
      return outgoing;
    };
    const others = await Promise.all([begin(), begin(), begin(), begin()]);
    const refused = await server.upload('x', file);
    expect(codeOf(refused)).to.deep.equal([429, 'concurrency_limited']);
    expect(Number(refused.headers.get('retry-after'))).to.be.greaterThan(0);
    const statuses = await Promise.all(
      others.map(
        (outgoing) =>
          new Promise((resolve, reject) => {
            outgoing.on('response', (response) => {
              response.resume();
              resolve(response.statusCode);
            });
            outgoing.on('error', reject);
            outgoing.end(file);
          }),
      ),
    );
    expect(statuses).to.deep.equal([201, 201, 201, 201]);
    expect((await server.upload('x', file)).status).to.equal(201);
  });

  it('leaves nothing of a client that goes away in the middle', async () => {
    const before = files();
    const outgoing = httpRequest(`${server.url}/api/v1/admin/tenants/import?name=gone`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Length': file.length },
    });
    outgoing.on('error', () => {});
    const left = server.logged(
      (line) => line.route === '/api/v1/admin/tenants/import' && line.status === 499,
    );
    await new Promise<void>((resolve) => outgoing.write(file.subarray(0, 10_000), () => resolve()));
    outgoing.destroy();
    await left;
    // Refused the same way as one whole request later: what it left is gone by then.
    await server.upload('x', Buffer.alloc(0));
    expect(files()).to.deep.equal(before);
  });

  it('refuses a missing, blank or unfit name, an unknown parameter and a compressed file', async () => {
    const send = (query: string, headers: Record<string, string> = {}) =>
      server.fetch(`/api/v1/admin/tenants/import${query}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${server.adminToken}`, ...headers },
        body: file,
      });
    for (const query of [
      '',
      '?name=',
      '?name=%20',
      '?name=a%00b',
      '?name=a&name=b',
      '?name=a&force=1',
      `?name=${'x'.repeat(201)}`,
    ]) {
      expect(codeOf(await send(query)), query).to.deep.equal([422, 'validation_failed']);
    }
    expect((await send('?name=x', { 'Content-Encoding': 'gzip' })).status).to.equal(415);
    expect((await send('?name=x', { Authorization: `Bearer ${tenant.apiKey}` })).status).to.equal(401);
  });
});
