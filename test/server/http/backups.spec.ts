import { createHash } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { changed, filesIn, inDatabase } from '../../support/files.ts';
import {
  type Json,
  type Reply,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  type TestTenant,
} from '../../support/http.ts';
import { fileWorkers } from '../../support/tenant-files.ts';
import { ManualClock } from '../../support/tenants.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const UNKNOWN = '018f0000-0000-7000-8000-000000000000';

describe('backups', () => {
  let server: TestServer;
  let clock: ManualClock;
  let upstream: Upstream;
  let tenant: TestTenant;
  let configId: string;

  const start = async (options: TestServerOptions = {}) => {
    server = await startTestServer({
      clock,
      ...options,
      env: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: upstream.openaiUrl, ...options.env },
    });
  };
  beforeEach(async () => {
    clock = new ManualClock();
    upstream = await startUpstream();
    await start();
    tenant = await server.createTenant();
    configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
  });
  afterEach(async () => {
    await server.stop();
    await upstream.close();
  });

  const path = (rest = '', id = tenant.id) => `/api/v1/admin/tenants/${id}${rest}`;
  const backUp = async (id = tenant.id): Promise<Json> => {
    const { status, body, text } = await server.admin.post(path('/backups', id), {});
    expect(status, text).to.equal(201);
    return body;
  };
  const list = async (query = '', id = tenant.id): Promise<Json[]> =>
    (await server.admin.get(path(`/backups${query}`, id))).body.data as Json[];
  const restore = (backupId: unknown, id = tenant.id) =>
    server.admin.post(path('/restore', id), { backup_id: backupId });
  const say = (message: string) => tenant.client.chat(configId, { message });
  const said = async (): Promise<unknown[]> => {
    const conversations = (await tenant.client.get('/api/v1/conversations')).body.data as Json[];
    const messages = await Promise.all(
      conversations.map(({ id }) => tenant.client.get(`/api/v1/conversations/${id}/messages`)),
    );
    return messages
      .flatMap(({ body }) => body.data as Json[])
      .filter(({ role }) => role === 'user')
      .map(({ content }) => content);
  };
  const codeOf = ({ status, body }: Reply) => [status, body.code];
  const folder = (...parts: string[]) => join(server.dataDir, 'backups', ...parts);
  const download = (id: unknown, headers: Record<string, string> = {}) =>
    server.download(path(`/backups/${id}`), { Authorization: `Bearer ${server.adminToken}`, ...headers });

  describe('on demand', () => {
    it('are whole, checked, listed newest first with what their manifest says', async () => {
      await say('hello');
      const first = await backUp();
      clock.advance(1000);
      const second = await backUp();
      expect(await list()).to.deep.equal([second, first]);
      expect(first).to.include({ trigger: 'manual', created_at: '2026-01-15T12:00:00.000Z' });
      const manifest = JSON.parse(readFileSync(folder(tenant.id, `${first.id}.json`), 'utf8'));
      expect(manifest).to.deep.include({ tenant: { id: tenant.id, name: 'Acme' }, sha256: first.sha256 });
      expect(manifest.row_counts).to.include({ conversations: 1, messages: 2, configs: 1 });
      const file = readFileSync(folder(tenant.id, `${first.id}.db`));
      expect(createHash('sha256').update(file).digest('hex')).to.equal(first.sha256);
      expect(file.length).to.equal(first.size_bytes);
    });

    it('come in pages, each exactly once', async () => {
      const made: unknown[] = [];
      for (let count = 0; count < 5; count += 1) made.unshift((await backUp()).id);
      const pages: unknown[] = [];
      let cursor: unknown = null;
      do {
        const query = `?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`;
        const { body } = await server.admin.get(path(`/backups${query}`));
        pages.push(...(body.data as Json[]).map(({ id }) => id));
        cursor = body.next_cursor;
      } while (cursor !== null);
      expect(pages).to.deep.equal(made);
      expect((await server.admin.get(path('/backups?limit=0'))).status).to.equal(422);
      expect((await server.admin.get(path('/backups?cursor=!'))).status).to.equal(422);
    });

    it('wait for each other, and each is one', async () => {
      const made = await Promise.all([backUp(), backUp(), backUp()]);
      expect(new Set(made.map(({ id }) => id)).size).to.equal(3);
      expect(await list()).to.have.length(3);
    });

    it('hold what had been said, and of running turns that they were aborted', async () => {
      const gate = createGate();
      upstream.script({ text: ['a', 'b'], hold: gate });
      const stream = await tenant.client.stream(configId, { message: 'under way' });
      await upstream.received(1);
      const { id } = await backUp();
      gate.open();
      for await (const { event } of stream.events) if (event === 'error') expect.fail('the turn goes on');
      inDatabase((await download(id)).bytes, (db) => {
        expect(db.prepare('SELECT status, error_code FROM turns').all()).to.deep.equal([
          { status: 'aborted', error_code: 'server_stopped' },
        ]);
        expect(db.prepare('SELECT count(*) FROM open_turns').pluck().get()).to.equal(0);
        expect(db.pragma('integrity_check', { simple: true })).to.equal('ok');
      });
    });

    it('are not there without a manifest: what a crash left is removed by the next one', async () => {
      await mkdir(folder(tenant.id), { recursive: true });
      for (const ending of ['db', 'db-journal', 'db.tmp', 'db.tmp-journal']) {
        writeFileSync(folder(tenant.id, `${UNKNOWN}.${ending}`), 'half');
      }
      writeFileSync(folder(tenant.id, `${UNKNOWN}.json.tmp`), '{');
      expect(await list()).to.deep.equal([]);
      expect((await download(UNKNOWN)).status).to.equal(404);
      const { id } = await backUp();
      expect(filesIn(folder(tenant.id))).to.deep.equal([`${id}.db`, `${id}.json`]);
    });

    it('say that the data are out of reach where they are, and leave nothing', async () => {
      await server.close();
      truncateSync(join(server.dataDir, 'tenants', `${tenant.id}.db`), 5000);
      await start({ dataDir: server.dataDir });
      expect(codeOf(await server.admin.post(path('/backups'), {}))).to.deep.equal([
        503,
        'tenant_unavailable',
      ]);
      expect(await list()).to.deep.equal([]);
      expect(filesIn(server.dataDir).filter((name) => /^(backups|tmp)|creating/.test(name))).to.deep.equal(
        [],
      );
    });

    it('keep their owner’s rights: nobody else may read them', async () => {
      const { id } = await backUp();
      for (const name of [`${id}.db`, `${id}.json`]) {
        expect((statSync(folder(tenant.id, name)).mode & 0o777).toString(8)).to.equal('600');
      }
      expect((statSync(folder(tenant.id)).mode & 0o777).toString(8)).to.equal('700');
    });
  });

  describe('as downloads', () => {
    it('come whole, with length, name, digest and ETag', async () => {
      const { id, sha256, size_bytes } = await backUp();
      const { status, headers, bytes } = await download(id);
      expect(status).to.equal(200);
      expect(createHash('sha256').update(bytes).digest('hex')).to.equal(sha256);
      expect(headers.get('content-length')).to.equal(String(size_bytes));
      expect(headers.get('content-type')).to.equal('application/vnd.sqlite3');
      expect(headers.get('etag')).to.equal(`"${sha256}"`);
      expect(headers.get('accept-ranges')).to.equal('bytes');
      expect(headers.get('content-disposition')).to.equal(
        'attachment; filename="acme-2026-01-15T12-00-00Z.db"',
      );
      const digest = Buffer.from(String(sha256), 'hex').toString('base64');
      expect(headers.get('repr-digest')).to.equal(`sha-256=:${digest}:`);
    });

    it('go on where they were cut off, as long as it is the same file', async () => {
      const { id, sha256 } = await backUp();
      const whole = (await download(id)).bytes;
      const size = whole.length;
      const cases: [range: string, start: number, end: number][] = [
        ['bytes=0-99', 0, 99],
        [`bytes=100-`, 100, size - 1],
        ['bytes=-10', size - 10, size - 1],
        ['Bytes= 5-9', 5, 9],
        [`bytes=${size - 1}-${size + 50}`, size - 1, size - 1],
        [`bytes=-${size + 5}`, 0, size - 1],
      ];
      for (const [range, first, last] of cases) {
        const part = await download(id, { Range: range, 'If-Range': `"${sha256}"` });
        expect(part.status, range).to.equal(206);
        expect(part.headers.get('content-range'), range).to.equal(`bytes ${first}-${last}/${size}`);
        expect(part.bytes.equals(whole.subarray(first, last + 1)), range).to.equal(true);
      }
    });

    it('come whole for a range of another file, of several parts, or of no sense', async () => {
      const { id } = await backUp();
      const { length } = (await download(id)).bytes;
      const others: Record<string, string>[] = [
        { Range: 'bytes=0-9', 'If-Range': '"another"' },
        { Range: 'bytes=0-9', 'If-Range': 'Thu, 15 Jan 2026 12:00:00 GMT' },
        { Range: 'bytes=0-1,5-6' },
        { Range: 'bytes=9-1' },
        { Range: 'bytes=-' },
        { Range: 'lines=1-2' },
      ];
      for (const headers of others) {
        const { status, bytes } = await download(id, headers);
        expect([status, bytes.length], JSON.stringify(headers)).to.deep.equal([200, length]);
      }
    });

    it('are a 416 with the length for a range past the end', async () => {
      const { id, size_bytes } = await backUp();
      for (const range of [`bytes=${size_bytes}-`, 'bytes=99999999999-', 'bytes=-0']) {
        const reply = await download(id, { Range: range });
        expect(codeOf(reply), range).to.deep.equal([416, 'range_not_satisfiable']);
        expect(reply.headers.get('content-range')).to.equal(`bytes */${size_bytes}`);
      }
    });

    it('are not sent again to who has them, and only described to who asks for the head', async () => {
      const { id, sha256, size_bytes } = await backUp();
      for (const tag of [`"${sha256}"`, `"x", W/"${sha256}"`, '*']) {
        const reply = await download(id, { 'If-None-Match': tag });
        expect([reply.status, reply.bytes.length], tag).to.deep.equal([304, 0]);
        expect(reply.headers.get('etag')).to.equal(`"${sha256}"`);
      }
      const head = await server.fetch(path(`/backups/${id}`), {
        method: 'HEAD',
        headers: { Authorization: `Bearer ${server.adminToken}` },
      });
      expect([head.status, head.headers.get('content-length')]).to.deep.equal([200, String(size_bytes)]);
    });

    it('are refused where something of the file is missing, instead of sent under the digest of the whole', async () => {
      const { id } = await backUp();
      const file = folder(tenant.id, `${id}.db`);
      for (const bytes of [5000, 0]) {
        truncateSync(file, bytes);
        expect(codeOf(await download(id)), String(bytes)).to.deep.equal([422, 'invalid_database']);
        expect(codeOf(await restore(id)), String(bytes)).to.deep.equal([422, 'invalid_database']);
      }
      rmSync(file);
      expect(codeOf(await download(id))).to.deep.equal([404, 'not_found']);
      expect(codeOf(await restore(id))).to.deep.equal([404, 'not_found']);
    });

    it('are cut off where their tenant is purged, and nothing of them is left when that ends', async () => {
      // Data that no socket buffer holds.
      for (let count = 0; count < 8; count += 1) await say('x'.repeat(900_000));
      const { id } = await backUp();
      const held = await new Promise<IncomingMessage>((resolve, reject) => {
        const headers = { Authorization: `Bearer ${server.adminToken}` };
        httpRequest(`${server.url}${path(`/backups/${id}`)}`, { headers }, resolve)
          .on('error', reject)
          .end();
      });
      const cut = new Promise((resolve) => held.once('error', resolve));
      expect((await server.admin.delete(path('?purge=true'))).status).to.equal(204);
      expect(filesIn(server.dataDir).filter((name) => name.includes(tenant.id))).to.deep.equal([]);
      held.resume();
      await cut;
      await server.logged((line) => String(line.route).endsWith('/:backup_id') && line.status === 499);
    });

    it('are, of another tenant, as one that never was', async () => {
      const other = await server.createTenant({ name: 'Globex' });
      const { id } = await backUp(other.id);
      const texts = new Set<string>();
      for (const wrong of [id, UNKNOWN, 'nonsense', '..%2F..%2Fcontrol']) {
        const reply = await download(wrong, { 'X-Request-Id': 'same' });
        expect(reply.status).to.equal(404);
        texts.add(reply.text);
      }
      for (const wrong of [id, UNKNOWN, 'nonsense', `../${other.id}/${id}`]) {
        const reply = await server.fetch(path('/restore'), {
          method: 'POST',
          headers: {
            Authorization: `Bearer ${server.adminToken}`,
            'Content-Type': 'application/json',
            'X-Request-Id': 'same',
          },
          body: JSON.stringify({ backup_id: wrong }),
        });
        expect(reply.status).to.equal(404);
        texts.add(reply.text);
      }
      expect(texts.size).to.equal(1);
      expect(await list()).to.deep.equal([]);
    });
  });

  describe('restored', () => {
    it('put back what was there, and keep what they replace', async () => {
      await say('before');
      const { id } = await backUp();
      await say('after');
      const { status, body } = await restore(id);
      expect(status).to.equal(200);
      expect(body.restored_backup_id).to.equal(id);
      expect((body.tenant as Json).id).to.equal(tenant.id);
      expect(await said()).to.deep.equal(['before']);
      const [kept] = await list();
      expect(kept).to.include({ id: body.kept_backup_id, trigger: 'restore' });
      await restore(body.kept_backup_id);
      expect(await said()).to.have.members(['before', 'after']);
    });

    it('abort the turns that run, which never write into what replaces their data', async () => {
      const { id } = await backUp();
      const gate = createGate();
      upstream.script({ text: ['half', 'whole'], hold: gate });
      gate.release();
      const stream = await tenant.client.stream(configId, { message: 'lost' });
      let last: Json = {};
      let restored: Reply | undefined;
      for await (const { event, data } of stream.events) {
        last = { event, code: data.code };
        if (event === 'delta') restored = await restore(id);
      }
      gate.open();
      expect(last).to.deep.equal({ event: 'error', code: 'tenant_unavailable' });
      expect(restored?.status).to.equal(200);
      expect(await said()).to.deep.equal([]);
      expect((await tenant.client.get('/api/v1/logs')).body.data).to.deep.equal([]);
      // The turn is in what was kept, settled and with the text so far.
      inDatabase((await download(restored?.body.kept_backup_id)).bytes, (db) => {
        expect(db.prepare('SELECT status FROM turns').pluck().all()).to.deep.equal(['aborted']);
        expect(
          db.prepare("SELECT content FROM messages WHERE role = 'assistant'").pluck().all(),
        ).to.deep.equal(['half']);
      });
      expect((await say('again')).status).to.equal(200);
    });

    it('come one after the other where two are asked for at once', async () => {
      await say('one');
      const first = await backUp();
      await say('two');
      const second = await backUp();
      const answers = await Promise.all([restore(first.id), restore(second.id)]);
      expect(answers.map(({ status }) => status)).to.deep.equal([200, 200]);
      expect(await said()).to.have.members(['one', 'two']);
      expect((await list()).map(({ trigger }) => trigger)).to.deep.equal([
        'restore',
        'restore',
        'manual',
        'manual',
      ]);
    });

    it('refuse a backup that has changed on the disk, and touch nothing', async () => {
      await say('here');
      const { id } = await backUp();
      const file = folder(tenant.id, `${id}.db`);
      const bytes = readFileSync(file);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 20) ^ 1, bytes.length - 20);
      writeFileSync(file, bytes);
      expect(codeOf(await restore(id))).to.deep.equal([422, 'invalid_database']);
      expect(await said()).to.deep.equal(['here']);
      expect(await list()).to.have.length(1);
    });

    it('bring back a tenant whose file is damaged or lost', async () => {
      await say('precious');
      const { id } = await backUp();
      for (const harm of [
        (file: string) => truncateSync(file, 5000),
        (file: string) => writeFileSync(file, 'garbage'),
        (file: string) => rmSync(file),
      ]) {
        await server.close();
        harm(join(server.dataDir, 'tenants', `${tenant.id}.db`));
        await start({ dataDir: server.dataDir });
        tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
        expect((await tenant.client.get('/api/v1/logs')).status).to.equal(503);
        const { status, body, text } = await restore(id);
        expect([status, body.kept_backup_id], text).to.deep.equal([200, null]);
        expect(await said()).to.deep.equal(['precious']);
      }
    });

    it('bring back a tenant whose file was removed while it was open, and lose nothing after that', async () => {
      await say('precious');
      const { id } = await backUp();
      await say('gone');
      rmSync(join(server.dataDir, 'tenants', `${tenant.id}.db`));
      const { status, body, text } = await restore(id);
      expect([status, body.kept_backup_id], text).to.deep.equal([200, null]);
      expect(await said()).to.deep.equal(['precious']);
      expect((await say('new')).status).to.equal(200);
      await server.close();
      await start({ dataDir: server.dataDir });
      tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
      expect(await said()).to.have.members(['precious', 'new']);
    });

    it('keep what they replace also where somebody has worked on the file', async () => {
      await say('precious');
      const { id } = await backUp();
      await say('later');
      await server.close();
      const db = new Database(join(server.dataDir, 'tenants', `${tenant.id}.db`));
      db.exec('CREATE TABLE notes (text TEXT)');
      db.close();
      await start({ dataDir: server.dataDir });
      tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
      const { body } = await restore(id);
      expect(await said()).to.deep.equal(['precious']);
      inDatabase((await download(body.kept_backup_id)).bytes, (kept) => {
        expect(kept.prepare('SELECT count(*) FROM notes, turns').pluck().get()).to.equal(0);
        expect(kept.prepare('SELECT count(*) FROM turns').pluck().get()).to.equal(2);
      });
    });

    it('end no turn for a backup that turns out to be bad', async () => {
      const { id } = await backUp();
      // Its manifest fits, its content does not.
      const file = folder(tenant.id, `${id}.db`);
      const bytes = changed(readFileSync(file), 'CREATE TABLE extra (id INTEGER)');
      writeFileSync(file, bytes);
      const manifest = JSON.parse(readFileSync(folder(tenant.id, `${id}.json`), 'utf8'));
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      writeFileSync(
        folder(tenant.id, `${id}.json`),
        JSON.stringify({ ...manifest, sha256, size_bytes: bytes.length }),
      );
      const gate = createGate();
      upstream.script({ text: ['half', 'whole'], hold: gate });
      gate.release();
      const stream = await tenant.client.stream(configId, { message: 'goes on' });
      let last = '';
      for await (const { event } of stream.events) {
        if (event === 'delta' && last !== 'delta') {
          expect(codeOf(await restore(id))).to.deep.equal([422, 'invalid_database']);
          gate.open();
        }
        last = event;
      }
      expect(last).to.equal('done');
      expect(await said()).to.deep.equal(['goes on']);
    });

    it('are in the audit when they are begun, and as done only when they are', async () => {
      await say('precious');
      const { id } = await backUp();
      const recorded = () => {
        const db = new Database(join(server.dataDir, 'control.db'), { readonly: true });
        const rows = db
          .prepare("SELECT changes FROM audit WHERE action = 'tenant.restore' ORDER BY id")
          .pluck()
          .all();
        db.close();
        return rows.map((text) => (JSON.parse(String(text)) as Json).state);
      };
      const { dataDir } = server;
      await server.close();
      writeFileSync(join(dataDir, 'tenants', `${tenant.id}.db`), 'garbage');
      await start({ dataDir });
      tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
      renameSync(join(dataDir, 'trash'), join(dataDir, 'trash.away'));
      expect((await restore(id)).status).to.equal(500);
      expect(recorded()).to.deep.equal(['begun']);
      expect(readFileSync(join(dataDir, 'tenants', `${tenant.id}.db`), 'utf8')).to.equal('garbage');
      renameSync(join(dataDir, 'trash.away'), join(dataDir, 'trash'));
      expect((await restore(id)).status).to.equal(200);
      expect(recorded()).to.deep.equal(['begun', 'begun', 'done']);
      expect(await said()).to.deep.equal(['precious']);
    });

    it('are refused for a body that names none', async () => {
      for (const body of [{}, { backup_id: 7 }, { backup_id: UNKNOWN, force: true }]) {
        expect((await server.admin.post(path('/restore'), body)).status).to.equal(422);
      }
    });
  });

  describe('of control.db', () => {
    const CONTROL = '/api/v1/admin/backups/control';
    const audited = () => {
      const db = new Database(join(server.dataDir, 'control.db'), { readonly: true });
      try {
        return db
          .prepare("SELECT actor_name, target_id FROM audit WHERE action = 'backup.create' ORDER BY id")
          .all();
      } finally {
        db.close();
      }
    };

    it('are made on demand, whole, listed newest first, and in the audit', async () => {
      const { status, body: first } = await server.admin.post(CONTROL, {});
      expect(status).to.equal(201);
      clock.advance(1000);
      const { body: second } = await server.admin.post(CONTROL, {});
      expect((await server.admin.get(CONTROL)).body).to.deep.equal({
        data: [second, first],
        next_cursor: null,
      });
      const page = await server.admin.get(`${CONTROL}?limit=1`);
      expect((page.body.data as Json[]).map(({ id }) => id)).to.deep.equal([second.id]);
      const bytes = readFileSync(join(server.dataDir, String(first.path)));
      expect(createHash('sha256').update(bytes).digest('hex')).to.equal(first.sha256);
      expect(bytes.length).to.equal(first.size_bytes);
      expect(first).to.include({ trigger: 'manual', created_at: '2026-01-15T12:00:00.000Z' });
      inDatabase(bytes, (db) => {
        expect(db.prepare('SELECT name FROM tenants WHERE id = ?').pluck().get(tenant.id)).to.equal('Acme');
      });
      expect(audited()).to.deep.equal(
        [first.id, second.id].map((target_id) => ({ actor_name: 'admin', target_id })),
      );
      await server.operations.background.schedule.run();
      const copies = filesIn(folder('control')).filter((name) => name.endsWith('.json'));
      expect(copies, 'nothing has changed since, so the schedule makes none').to.have.length(2);
    });

    it('are for the admin alone', async () => {
      expect((await tenant.client.post(CONTROL, {})).status).to.equal(401);
      expect((await tenant.client.get(CONTROL)).status).to.equal(401);
      expect((await server.admin.get(`${CONTROL}?limit=0`)).status).to.equal(422);
    });
  });

  describe('on a schedule', () => {
    const run = () => server.operations.background.schedule.run();
    const made = async () => (await list()).map(({ trigger }) => trigger);

    it('are made of the tenants that have changed since, and of control.db', async () => {
      await run();
      expect(await made()).to.deep.equal(['schedule']);
      expect((await run()).made).to.equal(0);
      await say('something new');
      expect(await run()).to.deep.equal({ made: 1, unchanged: 1, failed: 0 });
      expect(await made()).to.deep.equal(['schedule', 'schedule']);
      await tenant.client.get('/api/v1/conversations');
      expect((await run()).made, 'a look is no change').to.equal(0);
      const copies = filesIn(folder('control')).filter((name) => name.endsWith('.json'));
      expect(copies, 'what backups themselves write down is no change').to.have.length(1);
      await server.admin.patch(path(), { name: 'Acme Ltd' });
      await run();
      const after = filesIn(folder('control')).filter((name) => name.endsWith('.json'));
      expect(after, 'of five runs, two found it changed').to.have.length(2);
    });

    it('begin with control.db, and go on with whose last backup is the oldest', async () => {
      const never = await server.createTenant({ name: 'Never' });
      const lately = await server.createTenant({ name: 'Lately' });
      clock.advance(DAY_MS);
      await backUp();
      clock.advance(DAY_MS);
      await backUp(lately.id);
      await Promise.all([tenant, lately].map(({ client }) => server.createConfig(client, { name: 'New' })));
      await run();
      // Ids are given in the order in which the backups are begun.
      const newest = async (owner: string) => ({ owner, id: String((await list('', owner))[0]?.id) });
      const copies = filesIn(folder('control')).filter((name) => name.endsWith('.json'));
      const begun = [
        ...(await Promise.all([lately.id, tenant.id, never.id].map(newest))),
        { owner: 'control', id: String(copies[0]) },
      ];
      expect(begun.sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ owner }) => owner)).to.deep.equal([
        'control',
        never.id,
        tenant.id,
        lately.id,
      ]);
    });

    it('do not begin a second run beside the first', async () => {
      const [first, second] = await Promise.all([run(), run()]);
      expect(first).to.equal(second);
      expect(await made()).to.deep.equal(['schedule']);
    });

    it('go on past a tenant that fails, which the log names', async () => {
      const other = await server.createTenant({ name: 'Globex' });
      await server.close();
      truncateSync(join(server.dataDir, 'tenants', `${other.id}.db`), 5000);
      await start({ dataDir: server.dataDir });
      expect((await run()).failed).to.equal(1);
      expect(await made()).to.deep.equal(['schedule']);
      await server.logged((line) => line.tenant_id === other.id && line.level === 'error');
    });

    it('go on where a manifest is damaged, which hides that backup alone and is named by doctor', async () => {
      const { id: first } = await backUp();
      const { id: damaged } = await backUp();
      for (const text of ['null', '{"backup_id":']) {
        writeFileSync(join(folder(tenant.id), `${damaged}.json`), text);
        await say('something new');
        expect((await run()).failed, text).to.equal(0);
        expect((await list()).map(({ id }) => id))
          .to.include(first)
          .and.not.include(damaged);
      }
      expect(filesIn(folder(tenant.id))).to.include(`${damaged}.db`);
      const { text } = await server.fetch('/api/v1/admin/doctor', {
        method: 'POST',
        headers: { Authorization: `Bearer ${server.adminToken}` },
      });
      expect(text).to.match(new RegExp(`${damaged}\\.db".*"without_manifest"`));
    });

    it('leave what BACKUP_KEEP, _DAILY and _WEEKLY say', async () => {
      const { dataDir } = server;
      await server.close();
      await start({ dataDir, env: { BACKUP_KEEP: '2', BACKUP_KEEP_DAILY: '3', BACKUP_KEEP_WEEKLY: '0' } });
      tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
      const days: number[] = [];
      for (let day = 0; day < 5; day += 1) {
        await say(`day ${day}`);
        await run();
        days.push(clock.now());
        clock.advance(DAY_MS);
      }
      expect((await list()).map(({ created_at }) => Date.parse(String(created_at)))).to.deep.equal(
        days.slice(-3).reverse(),
      );
    });

    it('go in time also where it is restores that make them', async () => {
      const { dataDir } = server;
      await server.close();
      await start({ dataDir, env: { BACKUP_KEEP: '2', BACKUP_KEEP_DAILY: '0', BACKUP_KEEP_WEEKLY: '0' } });
      let { id } = await backUp();
      for (let count = 0; count < 5; count += 1) {
        clock.advance(8 * DAY_MS);
        const { status, body } = await restore(id);
        expect(status).to.equal(200);
        id = body.kept_backup_id;
      }
      // The last restore is answered before what it makes superfluous is removed.
      expect((await list()).length).to.be.within(2, 3);
      expect((await list())[0]?.id).to.equal(id);
    });

    it('have their process from the start', async () => {
      const { dataDir } = server;
      await server.close();
      expect(fileWorkers()).to.deep.equal([]);
      await start({ dataDir, config: { backupEveryMs: 3_600_000 } });
      expect(fileWorkers()).to.have.length(1);
    });

    it('begin by themselves where BACKUP_EVERY is set', async () => {
      const { dataDir } = server;
      await server.close();
      await start({ dataDir, config: { backupEveryMs: 1 } });
      await server.logged((line) => line.msg === 'scheduled backups done');
      expect((await made()).length).to.equal(1);
    });
  });

  it('are not begun on a disk that would be full after it, nor are exports, clones, restores and imports', async () => {
    const { id } = await backUp();
    const { dataDir } = server;
    await server.close();
    await start({ dataDir, diskFreeBytes: async () => 256 * 1024 * 1024 });
    tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
    const answers = [
      await server.admin.post(path('/backups'), {}),
      await server.admin.post('/api/v1/admin/backups/control', {}),
      await server.admin.post(path('/clone'), { name: 'x' }),
      await server.admin.get(path('/export')),
      await tenant.client.get('/api/v1/export'),
      await restore(id),
      await server.upload('x', 'SQLite format 3'),
    ];
    for (const reply of answers) {
      expect(codeOf(reply)).to.deep.equal([507, 'storage_quota_exceeded']);
      expect(reply.body.detail).to.match(/disk is full/);
    }
    expect(filesIn(dataDir).filter((name) => name.startsWith('tmp/'))).to.deep.equal([]);
    expect((await say('still served')).status).to.equal(200);
  });

  it('and all else leave the floor free together, and so does a file of a size that nobody has said', async () => {
    const { dataDir } = server;
    const sizeBytes = Number((await backUp()).size_bytes);
    await server.close();
    const floor = 256 * 1024 * 1024;
    // Room for one copy, and not for two.
    await start({ dataDir, diskFreeBytes: async () => floor + 1.5 * sizeBytes });
    const clones = await Promise.all([1, 2, 3].map(() => server.admin.post(path('/clone'), { name: 'x' })));
    expect(clones.map(({ status }) => status).sort()).to.deep.equal([201, 507, 507]);
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(sizeBytes));
        controller.close();
      },
    });
    const unannounced = await server.fetch('/api/v1/admin/tenants/import?name=x', {
      method: 'POST',
      headers: { Authorization: `Bearer ${server.adminToken}` },
      body,
      duplex: 'half',
    } as RequestInit);
    expect(codeOf(unannounced)).to.deep.equal([507, 'storage_quota_exceeded']);
    expect(filesIn(dataDir).filter((name) => name.startsWith('tmp/'))).to.deep.equal([]);
  });
});
