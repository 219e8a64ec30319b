import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { openControlPlane } from '../../../control-plane/control-plane.ts';
import { createIds } from '../../../tenant-schema/ids.ts';
import { filesIn, filesWith } from '../../support/files.ts';
import {
  type Json,
  type Reply,
  startTestServer,
  type TestServer,
  type TestTenant,
} from '../../support/http.ts';
import { ManualClock } from '../../support/tenants.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;

const UNKNOWN = '018f0000-0000-7000-8000-000000000000';
const SYSTEM = { id: 'system', name: 'system', requestId: null };

/** A clock that may show a wrong time while time itself goes on. */
class WrongClock extends ManualClock {
  aheadMs = 0;
  override now(): number {
    return this.ms + this.aheadMs;
  }
}

describe('the life of a tenant', () => {
  let server: TestServer;
  let clock: WrongClock;
  let upstream: Upstream;
  let tenant: TestTenant;
  let configId: string;
  let demoId: string;

  const start = async (dataDir?: string, env: Record<string, string> = {}) => {
    server = await startTestServer({
      clock,
      ...(dataDir !== undefined && { dataDir }),
      env: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: upstream.openaiUrl, ...env },
    });
  };
  beforeEach(async () => {
    clock = new WrongClock();
    upstream = await startUpstream();
    await start();
    const { body } = await server.admin.get('/api/v1/admin/tenants');
    demoId = String((body.data as Json[])[0]?.id);
    tenant = await server.createTenant({ name: 'Acme', limits: { requests_per_minute: 60 } });
    configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
  });
  afterEach(async () => {
    await server.stop();
    await upstream.close();
  });

  const path = (rest = '', id = tenant.id) => `/api/v1/admin/tenants/${id}${rest}`;
  const post = (rest: string, body: Json = {}, id = tenant.id) => server.admin.post(path(rest, id), body);
  const undelete = (id = tenant.id) =>
    server.fetch(path('/undelete', id), {
      method: 'POST',
      headers: { Authorization: `Bearer ${server.adminToken}` },
    });
  /** Tenants' files; the demo of the first start is not looked at. */
  const files = () =>
    filesIn(server.dataDir).filter(
      (name) => /^(tenants|trash|backups|tmp)/.test(name) && !name.includes(demoId),
    );
  const trashed = () => files().filter((name) => name.startsWith('trash/'));
  const codeOf = ({ status, body }: Reply) => [status, body.code];

  describe('deleted', () => {
    it('has dead keys at once, answers as one that never was, and lies in the trash', async () => {
      expect((await server.admin.delete(path())).status).to.equal(204);
      expect((await tenant.client.get('/api/v1/me')).status).to.equal(401);
      const unknown = await server.fetch(path('', UNKNOWN), {
        headers: { Authorization: `Bearer ${server.adminToken}`, 'X-Request-Id': 'same' },
      });
      const gone = await server.fetch(path(), {
        headers: { Authorization: `Bearer ${server.adminToken}`, 'X-Request-Id': 'same' },
      });
      expect(gone.text).to.equal(unknown.text);
      expect(files()).to.deep.equal([`trash/${tenant.id}.db`]);
      const { body } = await server.admin.get('/api/v1/admin/tenants?status=deleted');
      expect((body.data as Json[]).map(({ id, deleted_at }) => [id, deleted_at])).to.deep.equal([
        [tenant.id, new Date(clock.now()).toISOString()],
      ]);
      expect((await server.admin.get('/api/v1/admin/tenants')).body.data).to.have.length(1);
    });

    it('is a 404 for everything but undelete and purge', async () => {
      const backup = (await post('/backups')).body.id;
      await server.admin.delete(path());
      const answers = await Promise.all([
        server.admin.get(path()),
        server.admin.patch(path(), { name: 'x' }),
        server.admin.delete(path()),
        server.admin.get(path('/keys')),
        server.admin.get(path('/backups')),
        server.admin.get(path(`/backups/${backup}`)),
        server.admin.get(path('/export')),
        post('/keys', { name: 'k' }),
        post('/backups'),
        post('/clone', { name: 'x' }),
        post('/restore', { backup_id: backup }),
      ]);
      expect(answers.map(codeOf)).to.deep.equal(answers.map(() => [404, 'not_found']));
    });

    it('aborts the turns that run, which are counted, and never writes into what comes after', async () => {
      const gate = createGate();
      upstream.script({ text: ['half', 'whole'], hold: gate });
      gate.release();
      const stream = await tenant.client.stream(configId, { message: 'hi' });
      const events: Json[] = [];
      for await (const { event, data } of stream.events) {
        events.push({ event, code: data.code });
        if (event === 'delta') await server.admin.delete(path());
      }
      expect(events.at(-1)).to.deep.equal({ event: 'error', code: 'tenant_unavailable' });
      gate.open();
      const back = await undelete();
      const logs = await server.tenant(String(back.body.api_key)).get('/api/v1/logs');
      expect((logs.body.data as Json[]).map(({ status, error_code }) => [status, error_code])).to.deep.equal([
        ['aborted', 'tenant_unavailable'],
      ]);
    });

    it('comes back with its data, one new key, and its old ones dead', async () => {
      await tenant.client.chat(configId, { message: 'remember' });
      await server.admin.delete(path());
      const back = await undelete();
      expect(back.status).to.equal(200);
      expect(back.body).to.include({ id: tenant.id, name: 'Acme', status: 'active' });
      expect(back.body).not.to.have.property('deleted_at');
      const again = server.tenant(String(back.body.api_key));
      expect(((await again.get('/api/v1/logs')).body.data as Json[]).length).to.equal(1);
      expect((await tenant.client.get('/api/v1/me')).status).to.equal(401);
      const keys = (await server.admin.get(path('/keys'))).body.data as Json[];
      expect(keys.map(({ revoked_at }) => revoked_at === null)).to.deep.equal([true, false]);
      expect(files()).to.deep.equal([
        `tenants/${tenant.id}.db`,
        ...files().filter((name) => /-(wal|shm)$/.test(name)),
      ]);
    });

    it('is not taken back twice, nor when it was never deleted', async () => {
      expect(codeOf(await undelete())).to.deep.equal([409, 'already_exists']);
      await server.admin.delete(path());
      const answers = await Promise.all([undelete(), undelete()]);
      expect(answers.map(({ status }) => status).sort()).to.deep.equal([200, 404]);
      expect(codeOf(await undelete(UNKNOWN))).to.deep.equal([404, 'not_found']);
    });

    const sweep = () => server.operations.background.trash.sweep();

    it('is purged TRASH_DAYS and some hours later, and not before', async () => {
      await server.admin.delete(path());
      clock.advance(30 * DAY_MS - 1);
      await sweep();
      expect(trashed()).to.have.length(1);
      for (const ms of [1, 6 * HOUR_MS - 1]) {
        clock.advance(ms);
        await sweep();
        expect(trashed(), 'seen as expired, but not for long').to.have.length(1);
      }
      clock.advance(1);
      await sweep();
      expect(files()).to.deep.equal([]);
      expect((await server.admin.get('/api/v1/admin/tenants?status=deleted')).body.data).to.deep.equal([]);
      expect(codeOf(await undelete())).to.deep.equal([404, 'not_found']);
    });
  });

  it('outlasts a clock that is ahead for a while, at a start of the server too', async () => {
    const sweep = () => server.operations.background.trash.sweep();
    await server.admin.delete(path());
    clock.aheadMs = 1000 * DAY_MS;
    await sweep();
    const { dataDir } = server;
    await server.close();
    await start(dataDir);
    clock.advance(6 * HOUR_MS - 1);
    await sweep();
    clock.aheadMs = 0;
    await sweep();
    clock.aheadMs = 1000 * DAY_MS;
    clock.advance(HOUR_MS);
    await sweep();
    expect(trashed(), 'what was seen before the clock was right does not count').to.have.length(1);
    expect((await undelete()).status).to.equal(200);
  });

  it('ends at the next sweep where TRASH_DAYS is 0', async () => {
    const { dataDir } = server;
    await server.close();
    await start(dataDir, { TRASH_DAYS: '0' });
    await server.admin.delete(path());
    await server.operations.background.trash.sweep();
    expect(files()).to.deep.equal([]);
  });

  describe('purged', () => {
    const CANARY = 'Zanzibar-Holdings';

    it('leaves no name behind in any file, deleted before or not', async () => {
      for (const before of [false, true]) {
        const { id, client } = await server.createTenant({ name: CANARY, metadata: { crm: `${CANARY}-17` } });
        await server.createConfig(client, { name: `of ${CANARY}` });
        await server.admin.post(path('/keys', id), { name: `key of ${CANARY}` });
        await server.admin.patch(path('', id), { name: `${CANARY} & Sons` });
        await post('/backups', {}, id);
        await server.operations.background.schedule.run();
        const cloned = await post('/clone', { name: 'Clone' }, id);
        const cloneId = String(cloned.body.id);
        await server
          .tenant(String(cloned.body.api_key))
          .delete(
            `/api/v1/configs/${((await server.tenant(String(cloned.body.api_key)).get('/api/v1/configs')).body.data as Json[])[0]?.id}`,
          );
        if (before) await server.admin.delete(path('', id));
        expect((await server.admin.delete(path('?purge=true', id))).status).to.equal(204);
        expect((await server.admin.delete(path('?purge=true', id))).status).to.equal(404);
        // The clone has the data, the config's name among them; the name of the tenant it came from it has not.
        await server.admin.delete(path('?purge=true', cloneId));
      }
      const { dataDir } = server;
      await server.close();
      expect(filesWith(dataDir, CANARY)).to.deep.equal([]);
      expect(filesWith(dataDir, 'Acme'), 'the search finds what is there').to.include('control.db');
      await start(dataDir);
    });

    it('leaves no name in a clone', async () => {
      const { id } = await server.createTenant({ name: `${CANARY} `.repeat(8) });
      await post('/clone', { name: 'S' }, id);
      await server.admin.delete(path('?purge=true', id));
      const { dataDir } = server;
      await server.close();
      expect(filesWith(dataDir, CANARY)).to.deep.equal([]);
      await start(dataDir);
    });

    it('takes file and backups along, and only its own', async () => {
      const other = await server.createTenant({ name: 'Globex' });
      await post('/backups');
      await post('/backups', {}, other.id);
      await server.admin.delete(path('?purge=true'));
      expect(files().filter((name) => name.includes(tenant.id))).to.deep.equal([]);
      expect(files().some((name) => name.startsWith(`backups/${other.id}/`))).to.equal(true);
      expect((await other.client.get('/api/v1/me')).status).to.equal(200);
      expect((await tenant.client.get('/api/v1/me')).status).to.equal(401);
    });

    it('takes along what was damaged, what lay beside it, and its place on the list of failed migrations', async () => {
      const { dataDir } = server;
      const other = await server.createTenant({ name: 'Globex' });
      const list = join(dataDir, 'quarantine.json');
      writeFileSync(list, JSON.stringify({ [tenant.id]: 'a reason', [other.id]: 'another' }), {
        mode: 0o600,
      });
      await server.admin.delete(path());
      for (const ending of ['.db-wal', '.db-journal', '.x.damaged', '.x.damaged-wal', '.x.damaged-journal']) {
        writeFileSync(join(dataDir, 'trash', tenant.id + ending), '', { mode: 0o600 });
      }
      const doctor = await server.fetch('/api/v1/admin/doctor', {
        method: 'POST',
        headers: { Authorization: `Bearer ${server.adminToken}` },
      });
      expect(doctor.text, 'all of it has its reason')
        .to.include('event: done')
        .and.not.include('event: finding');
      // What a restore puts there where somebody had made a folder of the tenant's file.
      const parked = join(dataDir, 'trash', `${tenant.id}.y.damaged`);
      mkdirSync(parked, { mode: 0o700 });
      writeFileSync(join(parked, 'x'), '', { mode: 0o600 });
      mkdirSync(join(dataDir, 'backups', tenant.id, 'x.db'), { recursive: true, mode: 0o700 });
      expect((await server.admin.delete(path('?purge=true'))).status).to.equal(204);
      expect(filesIn(dataDir).filter((name) => name.includes(tenant.id))).to.deep.equal([]);
      expect(JSON.parse(readFileSync(list, 'utf8'))).to.deep.equal({ [other.id]: 'another' });
    });

    it('takes copies of control.db along that are damaged, instead of failing for ever', async () => {
      const copies: string[] = [];
      for (const name of ['missing', 'damaged', 'garbled', 'good']) {
        await server.admin.patch(path(), { name: `${CANARY} ${name}` });
        copies.push(String((await server.operations.backups.createOfControl(SYSTEM)).id));
      }
      const [missing, damaged, garbled, good] = copies;
      const copy = (name: string) => join(server.dataDir, 'backups/control', name);
      rmSync(copy(`${missing}.db`));
      writeFileSync(copy(`${damaged}.db`), `${CANARY} is no database`);
      writeFileSync(copy(`${garbled}.json`), CANARY);
      expect((await server.admin.delete(path('?purge=true'))).status).to.equal(204);
      expect(files()).to.deep.equal([`backups/control/${good}.db`, `backups/control/${good}.json`]);
      expect(filesWith(server.dataDir, CANARY)).to.deep.equal([]);
      const removed = server.logs().filter(({ msg }) => /copy of control.db/.test(String(msg)));
      expect(removed.map(({ backup_id }) => backup_id).sort()).to.deep.equal(
        [missing, damaged, garbled].sort(),
      );
    });

    it('says so where something keeps it from that, which stops no other tenant', async () => {
      const others = [await server.createTenant(), await server.createTenant()].map(({ id }) => id);
      const stuck = join(server.dataDir, `backups/${tenant.id}`);
      writeFileSync(stuck, 'no folder');
      expect((await server.admin.delete(path('?purge=true'))).status).to.equal(500);
      expect((await server.admin.delete(path('?purge=true', others[0]))).status).to.equal(204);
      await server.admin.delete(path('', others[1]));
      clock.advance(31 * DAY_MS);
      const failed = server.logged(({ msg }) => msg === 'a tenant could not be purged');
      await server.operations.background.trash.sweep();
      clock.advance(6 * HOUR_MS);
      await server.operations.background.trash.sweep();
      expect(await failed).to.include({ tenant_id: tenant.id });
      const left = async () =>
        ((await server.admin.get('/api/v1/admin/tenants?status=deleted')).body.data as Json[]).map(
          ({ id }) => id,
        );
      expect(await left()).to.deep.equal([tenant.id]);
      rmSync(stuck);
      await server.operations.background.trash.sweep();
      expect(await left()).to.deep.equal([]);
    });

    it('refuses a query that it does not know', async () => {
      expect((await server.admin.delete(path('?purge=yes'))).status).to.equal(422);
      expect((await server.admin.delete(path('?force=true'))).status).to.equal(422);
      expect((await server.admin.get(path())).status).to.equal(200);
    });
  });

  describe('cloned', () => {
    it('has the data and limits of the other, and a key, a name and a life of its own', async () => {
      await tenant.client.chat(configId, { message: 'remember' });
      const { status, body } = await post('/clone', { name: 'Staging' });
      expect(status).to.equal(201);
      expect(body).to.include({ name: 'Staging', status: 'active' });
      expect((body.limits as Json).requests_per_minute).to.equal(60);
      const clone = server.tenant(String(body.api_key));
      expect(((await clone.get('/api/v1/me')).body.tenant as Json).name).to.equal('Staging');
      const conversations = (await clone.get('/api/v1/conversations')).body.data as Json[];
      expect(conversations).to.have.length(1);
      await clone.delete(`/api/v1/conversations/${conversations[0]?.id}`);
      expect((await tenant.client.get('/api/v1/conversations')).body.data).to.have.length(1);
    });

    it('has the turns that ran at that moment closed as aborted, while they go on in the first', async () => {
      const gate = createGate();
      upstream.script({ text: ['first', 'second'], hold: gate });
      gate.release();
      const stream = await tenant.client.stream(configId, { message: 'hi' });
      let cloned: Reply | undefined;
      let last = '';
      for await (const { event } of stream.events) {
        last = event;
        if (event !== 'delta' || cloned) continue;
        cloned = await post('/clone', { name: 'Staging' });
        gate.open();
      }
      expect(last).to.equal('done');
      const clone = server.tenant(String(cloned?.body.api_key));
      const logs = (await clone.get('/api/v1/logs')).body.data as Json[];
      expect(logs.map(({ status }) => status)).to.deep.equal(['aborted']);
    });

    it('is refused for a missing or bad name, and for a tenant that is not there', async () => {
      expect((await post('/clone', {})).status).to.equal(422);
      expect((await post('/clone', { name: 'x', limits: {} })).status).to.equal(422);
      expect((await post('/clone', { name: 'x' }, UNKNOWN)).status).to.equal(404);
      expect((await post('/clone', { name: 'x' }, 'nonsense')).status).to.equal(404);
    });
  });

  describe('interrupted', () => {
    const restart = async (between: (dataDir: string) => void) => {
      const { dataDir } = server;
      await server.close();
      between(dataDir);
      await start(dataDir);
    };

    it('goes on with a delete whose file still lay in its place', async () => {
      await server.admin.delete(path());
      await restart((dataDir) =>
        renameSync(join(dataDir, `trash/${tenant.id}.db`), join(dataDir, `tenants/${tenant.id}.db`)),
      );
      expect(trashed()).to.deep.equal([`trash/${tenant.id}.db`]);
      expect((await undelete()).status).to.equal(200);
    });

    it('leaves a file alone that no row knows', async () => {
      await restart((dataDir) =>
        renameSync(join(dataDir, `tenants/${tenant.id}.db`), join(dataDir, `tenants/${UNKNOWN}.db`)),
      );
      expect(files()).to.include(`tenants/${UNKNOWN}.db`);
    });

    it('goes on with a purge that had only begun', async () => {
      const { dataDir } = server;
      await post('/backups');
      await server.close();
      const control = openControlPlane({ path: join(dataDir, 'control.db'), clock, ids: createIds(clock) });
      control.beginPurge(tenant.id, { id: 'a', name: 'a', requestId: null });
      control.close();
      await start(dataDir);
      expect(files()).to.deep.equal([]);
      expect((await server.admin.get('/api/v1/admin/tenants?status=deleted')).body.data).to.deep.equal([]);
    });
  });

  it('is found by its name, to the letter, among those of its status', async () => {
    const named = async (query: string) =>
      ((await server.admin.get(`/api/v1/admin/tenants?${query}`)).body.data as Json[]).map(({ id }) => id);
    const twin = await server.createTenant({ name: 'Acme' });
    await server.createTenant({ name: 'acme' });
    expect(await named('name=Acme')).to.deep.equal([twin.id, tenant.id]);
    expect(await named('name=Acme&limit=1')).to.deep.equal([twin.id]);
    expect(await named('name=Acm')).to.deep.equal([]);
    expect(await named('name=%25')).to.deep.equal([]);
    await server.admin.delete(path());
    expect(await named('name=Acme')).to.deep.equal([twin.id]);
    expect(await named('name=Acme&status=deleted')).to.deep.equal([tenant.id]);
    expect((await server.admin.get('/api/v1/admin/tenants?name=')).status).to.equal(422);
  });

  it('is counted in the stats and the metrics, with the sizes of its files', async () => {
    await post('/backups');
    await server.createTenant({ name: 'Globex' }).then(({ id }) => server.admin.delete(path('', id)));
    const { body } = await server.admin.get('/api/v1/admin/stats');
    expect(body.tenants).to.deep.equal({ active: 2, suspended: 0, deleted: 1 });
    const sizes = body.sizes as Record<string, number>;
    for (const name of ['control_bytes', 'tenants_bytes', 'backups_bytes', 'trash_bytes']) {
      expect(sizes[name], name).to.be.greaterThan(4096);
    }
    const metrics = await server.admin.get('/metrics');
    expect(metrics.text)
      .to.include('nimblesite_tenants{status="deleted"} 1')
      .and.include('nimblesite_disk_free_bytes');
  });
});
