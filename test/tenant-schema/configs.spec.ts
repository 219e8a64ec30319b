import { expect } from 'chai';
import { faultOfSync as faultOf } from '../support/faults.ts';
import { chat, configContent, startEngine, type TestEngine } from '../support/tenants.ts';

describe('configs of a tenant', () => {
  let world: TestEngine;
  let tenant: string;
  beforeEach(async () => {
    world = startEngine();
    tenant = await world.tenant();
  });
  afterEach(() => world.stop());

  it('keeps every past version whole and gives a turn the latest', async () => {
    await world.engine.use(tenant, (store) => {
      const first = store.createConfig(configContent());
      world.clock.advance(10);
      store.updateConfig(first.id, { systemPrompt: 'Two.' });
      world.clock.advance(10);
      const third = store.updateConfig(first.id, {
        name: 'Renamed',
        modelConfig: { provider: 'openai', model: 'm' },
      });
      expect(third).to.include({ id: first.id, version: 3, name: 'Renamed', systemPrompt: 'Two.' });
      expect(third.createdAt).to.equal(first.createdAt);
      expect(third.updatedAt).to.equal(first.createdAt + 20);
      const versions = store.listConfigVersions(first.id, { limit: 10, cursor: null });
      expect(
        versions.data.map(({ version, name, systemPrompt }) => [version, name, systemPrompt]),
      ).to.deep.equal([
        [3, 'Renamed', 'Two.'],
        [2, 'Assistant', 'Two.'],
        [1, 'Assistant', 'You help {tenant_name}.'],
      ]);
      expect(store.getConfig(first.id)).to.deep.equal(third);
    });
  });

  it('makes no new version of a change that changes nothing', async () => {
    await world.engine.use(tenant, (store) => {
      const config = store.createConfig(configContent({ metadata: { a: 1 } }));
      expect(store.updateConfig(config.id, { name: config.name, metadata: { a: 1, b: null } })).to.deep.equal(
        config,
      );
    });
  });

  it('merges metadata by key, where null removes one', async () => {
    await world.engine.use(tenant, (store) => {
      const { id } = store.createConfig(configContent({ metadata: { a: 1, b: 2 } }));
      expect(store.updateConfig(id, { metadata: { b: null, c: 3 } }).metadata).to.deep.equal({ a: 1, c: 3 });
    });
  });

  it('rolls back by making a new version with the old content', async () => {
    await world.engine.use(tenant, (store) => {
      const { id } = store.createConfig(configContent());
      store.updateConfig(id, { systemPrompt: 'Two.' });
      expect(store.rollbackConfig(id, 1)).to.include({ version: 3, systemPrompt: 'You help {tenant_name}.' });
      expect(faultOf(() => store.rollbackConfig(id, 9)).details.errors?.[0]?.path).to.equal('version');
    });
  });

  it('refuses a name that another config of the tenant has, at each way to get one', async () => {
    await world.engine.use(tenant, (store) => {
      store.createConfig(configContent({ name: 'A' }));
      const b = store.createConfig(configContent({ name: 'B' }));
      expect(faultOf(() => store.createConfig(configContent({ name: 'A' }))).code).to.equal('already_exists');
      expect(faultOf(() => store.updateConfig(b.id, { name: 'A' })).code).to.equal('already_exists');
      store.updateConfig(b.id, { name: 'C' });
      store.createConfig(configContent({ name: 'B' }));
      expect(faultOf(() => store.rollbackConfig(b.id, 1)).code).to.equal('already_exists');
      expect(store.getConfig(b.id)).to.include({ version: 2, name: 'C' });
    });
  });

  it('keeps conversations and logs readable when their config is deleted, and frees its name', async () => {
    await world.engine.use(tenant, (store) => {
      const { id } = store.createConfig(configContent());
      const turn = chat(store, id, 'hello', 'hi');
      store.deleteConfig(id);
      expect(faultOf(() => store.getConfig(id)).code).to.equal('not_found');
      expect(faultOf(() => store.listConfigVersions(id, { limit: 1, cursor: null })).code).to.equal(
        'not_found',
      );
      expect(store.getConversation(turn.conversationId).configId).to.equal(id);
      expect(store.listLogs({ configId: id }, { limit: 5, cursor: null }).data).to.have.length(1);
      expect(store.createConfig(configContent()).version).to.equal(1);
    });
  });

  it('ends a page early where its configs are large, and goes on after it', async () => {
    await world.engine.use(tenant, (store) => {
      for (const name of ['a', 'b', 'c']) {
        store.createConfig(configContent({ name, systemPrompt: name.repeat(3_000_000) }));
      }
      const first = store.listConfigs({ limit: 3, cursor: null });
      expect(first.data.map(({ name }) => name)).to.deep.equal(['c']);
      const second = store.listConfigs({ limit: 3, cursor: first.nextCursor });
      expect(second.data.map(({ name }) => name)).to.deep.equal(['b']);
    });
  });

  it('lists newest first, page by page, without a gap while configs are added', async () => {
    await world.engine.use(tenant, (store) => {
      const names = ['a', 'b', 'c', 'd', 'e'];
      for (const name of names) store.createConfig(configContent({ name }));
      const first = store.listConfigs({ limit: 2, cursor: null });
      store.createConfig(configContent({ name: 'late' }));
      const second = store.listConfigs({ limit: 2, cursor: first.nextCursor });
      const third = store.listConfigs({ limit: 2, cursor: second.nextCursor });
      expect([first, second, third].flatMap(({ data }) => data.map(({ name }) => name))).to.deep.equal(
        names.toReversed(),
      );
      expect(third.nextCursor).to.equal(null);
      expect(faultOf(() => store.listConfigs({ limit: 2, cursor: 'nonsense' })).code).to.equal(
        'validation_failed',
      );
    });
  });
});
