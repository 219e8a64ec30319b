import { expect } from 'chai';
import type { Page } from '../../tenant-schema/store.ts';
import { ADMIN, createFixture, type Fixture, faultOf } from './setup.ts';

const FIRST_PAGE: Page = { limit: 20, cursor: null };
const NO_LIMITS = {
  requests_per_minute: null,
  tokens_per_minute: null,
  max_concurrent_turns: null,
  monthly_spend_usd: null,
  storage_bytes_max: null,
  providers: null,
};

const DEFAULT_SETTINGS = { log_content: false, redact_secrets: true };

describe('tenants', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = createFixture();
  });
  afterEach(() => fixture.remove());

  const names = (filter: Parameters<Fixture['control']['listTenants']>[0]) =>
    fixture.control.listTenants(filter, FIRST_PAGE).data.map(({ name }) => name);
  const deleteTenant = (id: string) => fixture.sql("UPDATE tenants SET status = 'deleted' WHERE id = ?", id);

  it('are as they were given, active, with every limit named, also after a restart', () => {
    const { tenant } = fixture.addTenant({ metadata: { plan: 'pro', nested: [1, { a: null }] } });
    expect(tenant).to.deep.equal({
      id: tenant.id,
      name: 'Acme',
      status: 'active',
      metadata: { plan: 'pro', nested: [1, { a: null }] },
      limits: NO_LIMITS,
      settings: DEFAULT_SETTINGS,
      createdAt: fixture.clock.now(),
    });
    fixture.reopen();
    expect(fixture.control.getTenant(tenant.id)).to.deep.equal(tenant);
  });

  it('may share a name', () => {
    const first = fixture.addTenant().tenant;
    const second = fixture.addTenant().tenant;
    expect(first.id).to.not.equal(second.id);
    expect(names({})).to.deep.equal(['Acme', 'Acme']);
  });

  it('are added whole or not at all', () => {
    const { tenant } = fixture.addTenant();
    const counts = 'SELECT (SELECT count(*) FROM api_keys) AS keys, (SELECT count(*) FROM audit) AS audited';
    const before = fixture.sql(counts);
    expect(() => fixture.control.addTenant(tenant.id, { name: 'Again' }, ADMIN)).to.throw(/UNIQUE/);
    fixture.sql("CREATE TRIGGER no_keys BEFORE INSERT ON api_keys BEGIN SELECT RAISE(ABORT, 'full'); END");
    expect(() => fixture.addTenant({ name: 'Half' })).to.throw(/full/);
    expect(fixture.sql(counts)).to.deep.equal(before);
    expect(names({})).to.deep.equal(['Acme']);
  });

  it('are found by a part of the name, and listed page by page in each order', () => {
    for (const name of ['beta', 'Acme 100%', 'acme', 'Zeta', 'acme']) fixture.addTenant({ name });
    const { control } = fixture;
    const paged = (filter: Parameters<typeof control.listTenants>[0]) => {
      const found: string[] = [];
      let cursor: string | null = null;
      do {
        const page = control.listTenants(filter, { limit: 2, cursor });
        found.push(...page.data.map(({ name }) => name));
        cursor = page.nextCursor;
      } while (cursor !== null);
      return found;
    };
    expect(paged({ search: 'CM' })).to.deep.equal(['acme', 'acme', 'Acme 100%']);
    expect(paged({ search: '0%' })).to.deep.equal(['Acme 100%']);
    expect(paged({ search: '_' })).to.deep.equal([]);
    expect(paged({ order: 'name' })).to.deep.equal(['acme', 'acme', 'Acme 100%', 'beta', 'Zeta']);
    expect(paged({ order: 'oldest' })).to.deep.equal(['beta', 'Acme 100%', 'acme', 'Zeta', 'acme']);
    expect(paged({ order: 'newest' })).to.deep.equal(['acme', 'Zeta', 'acme', 'Acme 100%', 'beta']);
    const cursor = Buffer.from('acme').toString('base64url');
    expect(faultOf(() => control.listTenants({ order: 'name' }, { limit: 2, cursor }))).to.include({
      code: 'validation_failed',
    });
  });

  it('merge limits by key: null removes one, an absent one stays', () => {
    const { tenant } = fixture.addTenant({ limits: { providers: ['demo'], requests_per_minute: 5 } });
    expect(tenant.limits).to.deep.equal({ ...NO_LIMITS, providers: ['demo'], requests_per_minute: 5 });
    const patch = { limits: { requests_per_minute: null, storage_bytes_max: 7 } };
    const expected = { ...NO_LIMITS, providers: ['demo'], storage_bytes_max: 7 };
    expect(fixture.control.updateTenant(tenant.id, patch, ADMIN).limits).to.deep.equal(expected);
    expect(fixture.control.getTenant(tenant.id).limits).to.deep.equal(expected);
  });

  it('merge settings by key: null is the default again, and each change is written down', () => {
    const { tenant } = fixture.addTenant({ settings: { log_content: true } });
    expect(tenant.settings).to.deep.equal({ log_content: true, redact_secrets: true });
    const { control } = fixture;
    const set = (settings: object) => control.updateTenant(tenant.id, { settings }, ADMIN).settings;
    expect(set({ redact_secrets: false })).to.deep.equal({ log_content: true, redact_secrets: false });
    fixture.reopen();
    expect(fixture.control.getTenant(tenant.id).settings).to.deep.equal({
      log_content: true,
      redact_secrets: false,
    });
    fixture.control.updateTenant(tenant.id, { settings: { log_content: null, redact_secrets: null } }, ADMIN);
    expect(fixture.control.getTenant(tenant.id).settings).to.deep.equal(DEFAULT_SETTINGS);
    const changes = fixture.sql("SELECT changes FROM audit WHERE action = 'tenant.update'") as {
      changes: string;
    }[];
    expect(changes.map((row) => JSON.parse(row.changes).settings)).to.deep.equal([
      { redact_secrets: { from: true, to: false } },
      { log_content: { from: true, to: false }, redact_secrets: { from: false, to: true } },
    ]);
  });

  it('merge metadata by key, whatever the key is called', () => {
    const { tenant } = fixture.addTenant({ metadata: { a: 1, b: 2 } });
    const patch = { metadata: JSON.parse('{"a": null, "c": {"d": 3}, "__proto__": {"e": 4}}') };
    fixture.control.updateTenant(tenant.id, patch, ADMIN);
    const { metadata } = fixture.control.getTenant(tenant.id);
    expect(JSON.stringify(metadata)).to.equal('{"b":2,"c":{"d":3},"__proto__":{"e":4}}');
  });

  it('show a change at the very next read, and leave what the patch does not name', () => {
    const { tenant, issued } = fixture.addTenant({ metadata: { a: 1 } });
    fixture.control.updateTenant(tenant.id, { status: 'suspended' }, ADMIN);
    const after = { ...tenant, status: 'suspended' };
    expect(fixture.control.getTenant(tenant.id)).to.deep.equal(after);
    expect(fixture.control.findByKey(issued.secret)?.tenant).to.deep.equal(after);
  });

  it('are listed by status; a deleted one only where it is asked for', () => {
    fixture.addTenant({ name: 'active' });
    const suspended = fixture.addTenant({ name: 'suspended' }).tenant;
    const deleted = fixture.addTenant({ name: 'deleted' }).tenant;
    fixture.control.updateTenant(suspended.id, { status: 'suspended' }, ADMIN);
    deleteTenant(deleted.id);
    expect(names({})).to.deep.equal(['suspended', 'active']);
    for (const status of ['active', 'suspended', 'deleted'] as const) {
      expect(names({ status })).to.deep.equal([status]);
    }
  });

  it('answer for a deleted, an unknown and a malformed id in the same words', () => {
    const { tenant, issued } = fixture.addTenant();
    const { control } = fixture;
    deleteTenant(tenant.id);
    const answers = [tenant.id, fixture.ids(), 'x', ''].flatMap((id) => [
      faultOf(() => control.getTenant(id)),
      faultOf(() => control.updateTenant(id, { name: 'B' }, ADMIN)),
      faultOf(() => control.createKey(id, { name: 'B' }, ADMIN)),
      faultOf(() => control.listKeys(id, FIRST_PAGE)),
      faultOf(() => control.revokeKey(id, issued.key.id, ADMIN)),
    ]);
    for (const answer of answers) {
      expect(answer).to.deep.equal({ code: 'not_found', message: 'There is no such resource.' });
    }
  });

  it('page newest first, each exactly once, also while new ones come', () => {
    const made = Array.from({ length: 7 }, (_, i) => fixture.addTenant({ name: `t${i}` }).tenant.name);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = fixture.control.listTenants({}, { limit: 3, cursor });
      seen.push(...page.data.map(({ name }) => name));
      cursor = page.nextCursor;
      if (cursor !== null) fixture.addTenant({ name: 'late' });
    } while (cursor !== null);
    expect(seen).to.deep.equal(made.reverse());
  });

  it('have no next page where the last one is exactly full', () => {
    fixture.addTenant();
    fixture.addTenant();
    expect(fixture.control.listTenants({}, { limit: 2, cursor: null }).nextCursor).to.equal(null);
  });

  it('refuse a cursor that no page gave', () => {
    const encoded = (text: string) => Buffer.from(text).toString('base64url');
    for (const cursor of ['', '!', 'abc', encoded('x'), encoded("' OR 1=1"), `${encoded(fixture.ids())}=`]) {
      expect(faultOf(() => fixture.control.listTenants({}, { limit: 2, cursor }))).to.include({
        code: 'validation_failed',
      });
    }
  });
});

describe('the audit table', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = createFixture();
  });
  afterEach(() => fixture.remove());

  const rows = () =>
    fixture.sql('SELECT actor_id, actor_name, request_id, action, tenant_id, target_id, changes FROM audit');

  it('says who did what to which row, from what to what, without secrets', () => {
    const { tenant, issued } = fixture.addTenant({
      metadata: { secret: 'canary' },
      limits: { providers: ['demo'] },
    });
    fixture.control.updateTenant(
      tenant.id,
      { name: 'Bcme', status: 'suspended', metadata: { secret: 'canary2' }, limits: { providers: null } },
      ADMIN,
    );
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    const who = { actor_id: 'admin-1', actor_name: 'Ada', request_id: 'req-1', tenant_id: tenant.id };
    expect(rows()).to.deep.equal([
      {
        ...who,
        action: 'tenant.create',
        target_id: tenant.id,
        changes: JSON.stringify({
          name: { from: null, to: 'Acme' },
          status: { from: null, to: 'active' },
          limits: { providers: { from: null, to: ['demo'] } },
          metadata: ['secret'],
        }),
      },
      {
        ...who,
        action: 'key.create',
        target_id: issued.key.id,
        changes: JSON.stringify({ name: 'default', scopes: ['chat', 'read', 'manage'], expires_at: null }),
      },
      {
        ...who,
        action: 'tenant.update',
        target_id: tenant.id,
        changes: JSON.stringify({
          name: { from: 'Acme', to: 'Bcme' },
          status: { from: 'active', to: 'suspended' },
          limits: { providers: { from: ['demo'], to: null } },
          metadata: ['secret'],
        }),
      },
      { ...who, action: 'key.revoke', target_id: issued.key.id, changes: '{"name":"default"}' },
    ]);
  });

  it('has no row for a change that was not made', () => {
    const { tenant, issued } = fixture.addTenant();
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    const before = rows();
    fixture.control.updateTenant(tenant.id, { name: 'Acme', limits: { providers: null } }, ADMIN);
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    faultOf(() => fixture.control.updateTenant(fixture.ids(), { name: 'B' }, ADMIN));
    expect(rows()).to.deep.equal(before);
  });

  it('takes every change back that it cannot write down', () => {
    const { tenant, issued } = fixture.addTenant();
    fixture.sql("CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no audit'); END");
    const { control } = fixture;
    const changes = [
      () => fixture.addTenant({ name: 'B' }),
      () => control.updateTenant(tenant.id, { name: 'B' }, ADMIN),
      () => control.createKey(tenant.id, { name: 'B' }, ADMIN),
      () => control.revokeKey(tenant.id, issued.key.id, ADMIN),
    ];
    for (const change of changes) expect(change).to.throw(/no audit/);
    expect(control.listTenants({}, FIRST_PAGE).data).to.deep.equal([tenant]);
    expect(control.listKeys(tenant.id, FIRST_PAGE).data).to.deep.equal([issued.key]);
    expect(control.findByKey(issued.secret)?.tenant).to.deep.equal(tenant);
  });
});
