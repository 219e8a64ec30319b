import { rmSync, statSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { NEXT_MIGRATIONS } from '../crash/next-schema.ts';
import { filesIn, inDatabase } from '../support/files.ts';
import {
  type Json,
  type Reply,
  readEvents,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  type TestTenant,
} from '../support/http.ts';
import { createGate, startUpstream, type Upstream } from '../support/upstream.ts';
import { DISK, fillDisk, freeBytes, makeRoom, readOnly } from './small-disk.ts';

// Run by full-disk.spec.ts, where there is a small disk to fill.

const KIB = 1024;
const MIB = 1024 * KIB;
const TENANTS = '/api/v1/admin/tenants';
const QUESTION = 'x'.repeat(2 * MIB);
const FULL = [507, 'storage_quota_exceeded'];

describe('a disk that is full', () => {
  let upstream: Upstream;
  let dataDir: string;
  let server: TestServer;
  let tenant: TestTenant;
  let configId: string;
  let conversation: string;

  const start = async (options: TestServerOptions = {}) => {
    server = await startTestServer({
      dataDir,
      // Whoever looks before it begins is told that there is room, as where others fill the disk meanwhile.
      diskFreeBytes: async () => Number.MAX_SAFE_INTEGER,
      ...options,
      env: {
        OPENAI_API_KEY: 'k',
        OPENAI_BASE_URL: upstream.openaiUrl,
        DISK_FREE_BYTES_MIN: '0',
        BODY_BYTES_MAX: String(3 * MIB),
        ...options.env,
      },
    });
  };
  const restart = async (options: TestServerOptions = {}) => {
    await server.close();
    await start(options);
    tenant = { ...tenant, client: server.tenant(tenant.apiKey) };
  };
  const say = (message: string): Promise<Reply> =>
    tenant.client.chat(configId, { message, conversation_id: conversation });

  const setUp = async () => {
    upstream = await startUpstream();
    upstream.respond(() => ({ text: 'An answer.' }));
    dataDir = await mkdtemp(join(DISK, 'data-'));
    await start();
    tenant = await server.createTenant();
    configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
    const first = await tenant.client.chat(configId, { message: QUESTION });
    conversation = String(first.body.conversation_id);
  };
  const tearDown = async () => {
    makeRoom();
    await server.close();
    rmSync(dataDir, { recursive: true });
    await upstream.close();
  };

  const told = ({ status, body }: Reply) => [status, body.code];
  const names = () => filesIn(dataDir).filter((name) => !/-(wal|shm)$/.test(name));
  const tenantFile = () => join(dataDir, 'tenants', `${tenant.id}.db`);
  const fileBytes = () => statSync(tenantFile()).size;
  const contentOf = (db: Database.Database) => ({
    sound: db.pragma('integrity_check', { simple: true }),
    texts: db.prepare('SELECT content FROM messages ORDER BY conversation_id, seq').pluck().all(),
    configs: db.prepare('SELECT count(*) FROM configs').pluck().get(),
  });
  const WHOLE = { sound: 'ok', texts: [QUESTION, 'An answer.'], configs: 1 };
  const lookAt = (path: string) => {
    const db = new Database(path, { readonly: true });
    try {
      return contentOf(db);
    } finally {
      db.close();
    }
  };

  /** The work meets the end of the disk at each of these points, and is done once there is room. */
  const meetsTheEnd = async (freeAt: number[], work: () => Promise<Reply>): Promise<Reply> => {
    const before = names();
    for (const free of freeAt) {
      fillDisk(free);
      const refused = await work();
      const left = Math.round(free / KIB);
      expect(told(refused), `${left} KiB free: ${refused.text}`).to.deep.equal(FULL);
      expect(refused.body.detail).to.match(/disk is full/);
      expect(names(), `${left} KiB free`).to.deep.equal(before);
      expect((await tenant.client.get(`/api/v1/conversations/${conversation}`)).status).to.equal(200);
    }
    makeRoom();
    const done = await work();
    expect(done.status, done.text).to.be.within(200, 201);
    expect(lookAt(tenantFile())).to.deep.equal(WHOLE);
    return done;
  };
  /** Points on the way of work that writes so many files of the tenant's size. */
  const pointsOf = (files: number): number[] => {
    const whole = Array.from({ length: files }, (_, index) => index * fileBytes());
    return whole.flatMap((start) => [start + 64 * KIB, start + fileBytes() - 64 * KIB]);
  };

  const backUp = () => server.admin.post(`${TENANTS}/${tenant.id}/backups`, {});

  describe('while files are copied', () => {
    before(setUp);
    after(tearDown);
    afterEach(makeRoom);

    it('leaves no backup that is not whole', async () => {
      const { body } = await meetsTheEnd(pointsOf(1), backUp);
      expect(lookAt(join(dataDir, 'backups', tenant.id, `${body.id}.db`))).to.deep.equal(WHOLE);
    });

    it('leaves no backup where only its row in the audit table does not fit', async () => {
      const before = names();
      const refused: number[] = [];
      let bytes = fileBytes() - 16 * KIB;
      for (;;) {
        fillDisk(bytes);
        const reply = await backUp();
        if (reply.status === 201) break;
        expect(told(reply)).to.deep.equal(FULL);
        expect(names()).to.deep.equal(before);
        refused.push(bytes);
        bytes += 4 * KIB;
      }
      expect(refused).to.not.have.length(0);
    });

    it('leaves nothing of an export', async () => {
      const path = `${TENANTS}/${tenant.id}/export`;
      let bytes: Uint8Array = new Uint8Array();
      await meetsTheEnd(pointsOf(1), async () => {
        const reply = await server.download(path);
        bytes = reply.bytes;
        return reply;
      });
      expect(inDatabase(bytes, contentOf)).to.deep.equal(WHOLE);
      expect(names().filter((name) => name.startsWith('tmp'))).to.deep.equal([]);
    });

    it('leaves no tenant of a clone', async () => {
      const { body } = await meetsTheEnd(pointsOf(1), () =>
        server.admin.post(`${TENANTS}/${tenant.id}/clone`, { name: 'A copy' }),
      );
      expect(lookAt(join(dataDir, 'tenants', `${body.id}.db`))).to.deep.equal(WHOLE);
    });

    it('leaves no tenant of an import, be it met by the upload, by the check or by the copy', async () => {
      const { bytes } = await server.download(`${TENANTS}/${tenant.id}/export`);
      const { body } = await meetsTheEnd(pointsOf(3), () => server.upload('Imported', bytes));
      expect(lookAt(join(dataDir, 'tenants', `${body.id}.db`))).to.deep.equal(WHOLE);
    });

    it('leaves the data as they were before a restore', async () => {
      const backup = (await backUp()).body;
      const { body } = await meetsTheEnd(pointsOf(2), () =>
        server.admin.post(`${TENANTS}/${tenant.id}/restore`, { backup_id: backup.id }),
      );
      const kept = join(dataDir, 'backups', tenant.id, `${body.kept_backup_id}.db`);
      expect(lookAt(kept)).to.deep.equal(WHOLE);
    });
  });

  describe('otherwise', () => {
    beforeEach(setUp);
    afterEach(tearDown);

    it('is told for a new tenant, a key, a name and a deletion, none of which is half done', async () => {
      const path = `${TENANTS}/${tenant.id}`;
      const before = names();
      for (const free of [0, 8 * KIB, 64 * KIB]) {
        fillDisk(free);
        const reply = await server.admin.post(TENANTS, { name: 'One more' });
        expect(told(reply), `${free} free: ${reply.text}`).to.deep.equal(FULL);
        expect(names()).to.deep.equal(before);
      }
      fillDisk(0);
      expect(told(await server.admin.post(`${path}/keys`, { name: 'more' }))).to.deep.equal(FULL);
      expect(told(await server.admin.patch(path, { name: 'Another' }))).to.deep.equal(FULL);
      expect(told(await server.admin.delete(path))).to.deep.equal(FULL);
      expect((await server.admin.get(path)).body).to.include({ name: 'Acme', status: 'active' });
      expect((await tenant.client.get('/api/v1/me')).status).to.equal(200);
      makeRoom();
      expect((await server.admin.delete(path)).status).to.equal(204);
    });

    const migrate = async (): Promise<Json> => {
      const response = await fetch(`${server.url}/api/v1/admin/fleet/migrate`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Type': 'application/json' },
        body: '{}',
      });
      const events: Json[] = [];
      if (response.body)
        for await (const { event, data } of readEvents(response.body)) events.push({ event, ...data });
      return events.at(-1) ?? {};
    };
    /** What is not whole, or has no manifest. */
    const unfinished = () => {
      const all = names();
      return all.filter(
        (name) =>
          /^tmp|\.creating|\.tmp$/.test(name) ||
          (name.startsWith('backups') && !all.includes(name.replace(/db$/, 'json'))),
      );
    };

    it('leaves a file that is migrated at its old version, whole, and is the reason on the list', async () => {
      await restart({ tenantMigrations: NEXT_MIGRATIONS });
      // At the last point what is kept of it fits, but not what the step writes.
      for (const free of [128 * KIB, fileBytes() - 64 * KIB, fileBytes() + 16 * KIB]) {
        fillDisk(free);
        const result = await migrate();
        expect(result.event, JSON.stringify(result)).to.equal('done');
        const failure = (result.failed as Json[]).find(({ tenant_id }) => tenant_id === tenant.id);
        expect(failure?.reason, `${free} ${JSON.stringify(result)}`).to.match(/disk is full/);
        expect(unfinished()).to.deep.equal([]);
        expect(lookAt(tenantFile())).to.deep.equal(WHOLE);
      }
      makeRoom();
      expect((await migrate()).failed).to.deep.equal([]);
      const { data } = (await server.admin.get(`${TENANTS}/${tenant.id}/backups`)).body;
      expect((data as Json[])[0]).to.include({ trigger: 'migration' });
      expect((await say('And now?')).status).to.equal(200);
    });

    it('keeps a file at its old version that would be migrated by its first request, which is told', async () => {
      await restart({ tenantMigrations: NEXT_MIGRATIONS });
      for (const free of [128 * KIB, fileBytes() - 64 * KIB]) {
        fillDisk(free);
        const refused = await tenant.client.get(`/api/v1/conversations/${conversation}`);
        expect(refused.status, refused.text).to.be.oneOf([503, 507]);
        expect(unfinished()).to.deep.equal([]);
        expect(lookAt(tenantFile())).to.deep.equal(WHOLE);
      }
      makeRoom();
      expect((await say('And now?')).status).to.equal(200);
    });

    it('is told apart from a folder that is read-only, which is named, and nothing is lost in either', async () => {
      const { bytes } = await server.download(`${TENANTS}/${tenant.id}/export`);
      const made = (await backUp()).body;
      const path = `${TENANTS}/${tenant.id}`;
      const work = {
        backups: [
          () => backUp(),
          () => server.admin.post('/api/v1/admin/backups/control', {}),
          () => server.admin.post(`${path}/restore`, { backup_id: made.id }),
        ],
        tenants: [
          () => server.admin.post(TENANTS, { name: 'One more' }),
          () => server.admin.post(`${path}/clone`, { name: 'A copy' }),
          () => server.upload('Imported', bytes),
          () => server.download(`${path}/export`),
        ],
      };
      const before = names();
      for (const [folder, attempts] of Object.entries(work)) {
        await readOnly(join(dataDir, folder), async () => {
          for (const attempt of attempts) {
            const reply = await attempt();
            expect(told(reply), `${folder} ${attempt}`).to.deep.equal([500, 'internal_error']);
            expect(reply.body.detail, `${folder} ${attempt}`).to.match(/read-only/);
            expect(names()).to.deep.equal(before);
          }
        });
        for (const attempt of attempts) expect((await attempt()).status, folder).to.be.within(200, 201);
        before.splice(0, before.length, ...names());
      }
      expect(lookAt(tenantFile())).to.deep.equal(WHOLE);
      expect((await say('And now?')).status).to.equal(200);
    });

    describe('when a turn ends', () => {
      /** Takes a turn whose answer comes when only so much is free. */
      const answerWith = async (free: number, streamed = false) => {
        const gate = createGate();
        upstream.script({ text: 'y'.repeat(MIB), usage: { input: 700, output: 300 }, hold: gate });
        const asked = upstream.requests.length;
        const body = { message: 'Go on', conversation_id: conversation };
        const turn = streamed ? tenant.client.stream(configId, body) : tenant.client.chat(configId, body);
        await upstream.received(asked + 1);
        fillDisk(free);
        gate.open();
        return turn;
      };
      const newestLog = async () => ((await tenant.client.get('/api/v1/logs')).body.data as Json[])[0];
      const CHARGED = {
        status: 'error',
        error_code: 'storage_quota_exceeded',
        usage: { input_tokens: 700, output_tokens: 300, cached_input_tokens: 0, reasoning_tokens: 0 },
      };

      for (const free of [0, 16 * KIB, 512 * KIB]) {
        it(`tells its client, and counts what was charged, with ${free / KIB} KiB free`, async () => {
          const refused = (await answerWith(free)) as Reply;
          expect(told(refused)).to.deep.equal(FULL);
          expect(refused.body.detail).to.match(/disk is full/);
          expect((await tenant.client.get(`/api/v1/conversations/${conversation}`)).body).to.include({
            message_count: 2,
          });
          makeRoom();
          const next = await say('And now?');
          expect(next.status, next.text).to.equal(200);
          const logs = (await tenant.client.get('/api/v1/logs')).body.data as Json[];
          expect(logs[1]).to.deep.include(CHARGED);
          await server.close();
          expect(lookAt(tenantFile())).to.deep.equal({
            ...WHOLE,
            texts: [...WHOLE.texts, 'And now?', 'An answer.'],
          });
        });
      }

      it('tells it as the last event of a stream', async () => {
        const stream = (await answerWith(0, true)) as Awaited<ReturnType<typeof tenant.client.stream>>;
        const events: { event: string; data: Json }[] = [];
        for await (const event of stream.events) events.push(event);
        expect(events.at(-1)?.event).to.equal('error');
        expect(events.at(-1)?.data).to.include({ code: 'storage_quota_exceeded' });
      });

      it('counts what was charged where the server is stopped and nobody asks again', async () => {
        expect(told((await answerWith(0)) as Reply)).to.deep.equal(FULL);
        makeRoom();
        await restart();
        expect(await newestLog()).to.deep.include(CHARGED);
      });

      it('takes no turn while it can write none, and asks nobody', async () => {
        fillDisk(0);
        const asked = upstream.requests.length;
        expect(told(await say('Hello?'))).to.deep.equal(FULL);
        expect(upstream.requests).to.have.length(asked);
      });
    });

    it('is not filled by copies: below the floor none is begun', async () => {
      const { bytes } = await server.download(`${TENANTS}/${tenant.id}/export`);
      const made = (await backUp()).body;
      await server.close();
      // What the disk has in truth, without the stand-in.
      server = await startTestServer({ dataDir, env: { DISK_FREE_BYTES_MIN: String(8 * MIB) } });
      const before = names();
      fillDisk(8 * MIB + fileBytes() - 64 * KIB);
      const path = `${TENANTS}/${tenant.id}`;
      const free = freeBytes();
      const replies = [
        await server.admin.post(`${path}/backups`, {}),
        await server.download(`${path}/export`),
        await server.admin.post(`${path}/clone`, { name: 'A copy' }),
        await server.upload('Imported', bytes),
        await server.admin.post(`${path}/restore`, { backup_id: made.id }),
      ];
      expect(replies.map(told)).to.deep.equal(replies.map(() => FULL));
      expect(names()).to.deep.equal(before);
      expect(free - freeBytes(), 'nothing was written').to.be.lessThan(256 * KIB);
      makeRoom();
      expect((await server.admin.post(`${path}/backups`, {})).status).to.equal(201);
    });
  });
});
