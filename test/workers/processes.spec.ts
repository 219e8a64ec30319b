import { once } from 'node:events';
import { copyFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Json } from '../support/http.ts';
import { startProcess } from '../support/process.ts';
import { forge, until } from '../support/tenant-files.ts';
import { createGate } from '../support/upstream.ts';
import { type CrewedServer, inTurn, isAlive, startCrewed, statuses } from './setup.ts';

const FIXTURE = join(import.meta.dirname, '../fixtures/tenant-v1.db');

describe('the processes of a server with two workers', function () {
  this.timeout(60_000);
  let server: CrewedServer;
  let stopped: boolean;

  const start = async (...options: Parameters<typeof startCrewed>): Promise<CrewedServer> => {
    stopped = false;
    server = await startCrewed(...options);
    return server;
  };
  afterEach(async () => {
    if (!stopped) await server.stop();
    stopped = true;
  });

  it('go on when one of them dies: its turns are aborted and free, those of the others end as they would', async () => {
    const { upstream } = await start();
    const { client, configId } = await server.tenant();
    const made = await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    const hold = createGate();
    upstream.respond(() => ({ text: ['Hel', 'lo'], hold }));
    const streams = [];
    for (const { body } of made) {
      const turn = { message: 'Hi', conversation_id: body.conversation_id };
      streams.push(await client.stream(configId, turn));
    }
    await upstream.received(4);
    const ids: unknown[] = [];
    const ends = streams.map(async ({ events }) => {
      const begun = await events.next();
      ids.push(begun.value?.data.conversation_id);
      let last: unknown = null;
      try {
        for await (const { event } of events) last = event;
      } catch {
        last = 'cut off';
      }
      return [begun.value?.data.conversation_id, last];
    });
    await until(() => ids.length === 2);
    process.kill(server.pids()[0] ?? 0, 'SIGKILL');
    const [dead] = await Promise.race(ends);
    await server.mourned();
    upstream.respond(() => ({ text: 'Hello' }));
    // Whoever is asked.
    const turn = { message: 'Hi again', conversation_id: dead };
    const free = await inTurn(2, () => client.chat(configId, turn));
    expect(statuses(free)).to.deep.equal([200, 200]);
    hold.open();
    expect((await Promise.all(ends)).map(([, last]) => last)).to.have.members(['cut off', 'done']);
    const logs = (await client.get('/api/v1/logs')).body.data as Json[];
    expect(logs.map(({ status, error_code }) => `${status} ${error_code}`)).to.have.members([
      ...Array(5).fill('ok null'),
      'aborted server_stopped',
    ]);
    await server.served(3);
    expect(statuses(await inTurn(4, () => client.get('/api/v1/me')))).to.deep.equal(Array(4).fill(200));
    const { body } = await server.admin.get('/api/v1/admin/usage?group_by=tenant');
    expect((body.data as Json[]).map(({ turns }) => turns)).to.include(6);
  });

  it('end at once with the first one, whose folder the next server takes with all its turns free', async () => {
    const { upstream } = await start();
    const { apiKey, client, configId } = await server.tenant();
    const { body } = await client.chat(configId, { message: 'Hi' });
    upstream.respond(() => ({ text: 'Hello', hangAfter: 'request' }));
    const cut = client
      .chat(configId, { message: 'Hi', conversation_id: body.conversation_id })
      .catch(() => 'cut off');
    await upstream.received(2);
    const old = server.pids();
    await server.process.end('SIGKILL');
    expect(await cut).to.equal('cut off');
    upstream.respond(() => ({ text: 'Hello' }));
    await start({ again: server });
    expect(old.filter(isAlive)).to.deep.equal([]);
    const again = await inTurn(2, () =>
      server.as(apiKey).chat(configId, { message: 'Hi', conversation_id: body.conversation_id }),
    );
    expect(statuses(again)).to.deep.equal([200, 200]);
  });

  it('drain when a terminal signals all of them, twice, and leave whole files', async () => {
    const { upstream } = await start({ group: true });
    const { client, configId } = await server.tenant();
    const hold = createGate();
    upstream.respond(() => ({ text: 'Hello', hold }));
    const turns = Array.from({ length: 2 }, () => client.chat(configId, { message: 'Hi' }));
    await upstream.received(2);
    const { child, output } = server.process;
    const ended = once(child, 'exit');
    process.kill(-(child.pid ?? 0), 'SIGINT');
    process.kill(-(child.pid ?? 0), 'SIGTERM');
    while (!output().includes('"draining"')) await once(child.stderr ?? child, 'data');
    const readiness = await inTurn(2, () => server.as('').get('/readyz'));
    expect(statuses(readiness)).to.deep.equal([503, 503]);
    hold.open();
    expect(statuses(await Promise.all(turns))).to.deep.equal([200, 200]);
    expect((await ended)[0]).to.equal(0);
    expect(output().match(/listening on/g)).to.have.length(1);
    expect(server.pids().filter(isAlive)).to.deep.equal([]);
    for (const folder of ['.', 'tenants']) {
      expect((await server.files(folder)).filter((name) => /-(wal|shm|journal)$/.test(name))).to.deep.equal(
        [],
      );
    }
  });

  it('all read the file of prices again, and a second server does not get their folder', async () => {
    const prices = join(import.meta.dirname, `prices-${process.pid}.json`);
    const write = (output: number) =>
      writeFile(prices, JSON.stringify({ openai: { 'gpt-test': { input: 0, output } } }));
    await write(100);
    try {
      await start({ env: { PRICES_FILE: prices } });
      const { client, configId } = await server.tenant();
      const costs = async () =>
        (await inTurn(2, () => client.chat(configId, { message: 'Hi' }))).map(({ body }) => body.cost_usd);
      expect(await costs()).to.deep.equal([0.0005, 0.0005]);
      await write(200);
      server.process.child.kill('SIGHUP');
      const read = () => server.process.output().match(/the prices were read again/g)?.length ?? 0;
      while (read() < 3) await once(server.process.child.stderr ?? server.process.child, 'data');
      expect(await costs()).to.deep.equal([0.001, 0.001]);
      const second = startProcess({ env: { WORKERS: '2', PORT: '0', DATA_DIR: server.dataDir } });
      expect((await once(second.child, 'close'))[0]).to.equal(1);
      expect(second.output()).to.match(/^another server owns .*\n$/);
    } finally {
      await rm(prices, { force: true });
    }
  });

  it('have a file of an earlier release brought up to date once, by whoever comes first', async () => {
    // The file's turns are old.
    await start({ env: { LOG_DAYS: '0' } });
    const { id, client } = await server.tenant();
    await server.admin.post(`/api/v1/admin/tenants/${id}/quiesce`, {});
    const path = join(server.dataDir, 'tenants', `${id}.db`);
    await copyFile(FIXTURE, path);
    forge(path, (db) => db.prepare('UPDATE tenant SET id = ?').run(id));
    const answers = await Promise.all(Array.from({ length: 6 }, () => client.get('/api/v1/configs')));
    expect(statuses(answers)).to.deep.equal(Array(6).fill(200));
    const logs = (await client.get('/api/v1/logs?status=aborted')).body.data as Json[];
    expect(logs.filter(({ error_code }) => error_code === 'server_stopped')).to.have.length(1);
  });
});
