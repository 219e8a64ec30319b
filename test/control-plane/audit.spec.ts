import { rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import type { AuditFilter } from '../../control-plane/types.ts';
import { ADMIN, createFixture, type Fixture, makeEarlier } from './setup.ts';

const FIRST_PAGE = { limit: 100, cursor: null };

describe('the audit', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = createFixture();
  });
  afterEach(() => fixture.remove());

  const broken = async () => (await fixture.control.verifyAudit()).broken;
  const ids = () =>
    (fixture.sql('SELECT id FROM audit ORDER BY seq') as { id: string }[]).map(({ id }) => id);
  /** As somebody would who has the file and no scruples. */
  const forge = (sql: string) => {
    const db = new Database(fixture.path);
    try {
      db.exec(`DROP TRIGGER IF EXISTS audit_is_kept; DROP TRIGGER IF EXISTS audit_is_final; ${sql}`);
    } finally {
      db.close();
    }
  };
  const someRows = () => {
    const { tenant, issued } = fixture.addTenant();
    fixture.control.updateTenant(tenant.id, { name: 'Bcme' }, ADMIN);
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    return tenant;
  };

  it('is a chain that holds, over restarts and wherever the clock goes', async () => {
    expect(await fixture.control.verifyAudit()).to.deep.equal({ rows: 0, broken: null });
    someRows();
    fixture.clock.pass(-60_000);
    fixture.reopen();
    someRows();
    expect(await fixture.control.verifyAudit()).to.deep.equal({ rows: 8, broken: null });
  });

  it('is only added to: a row can be neither changed nor removed by mistake', () => {
    someRows();
    for (const sql of [
      'DELETE FROM audit',
      'UPDATE audit SET at = 1',
      "UPDATE audit SET action = 'key.create'",
      "UPDATE audit SET actor_id = 'somebody else'",
      'UPDATE audit SET hash = NULL',
    ]) {
      expect(() => fixture.sql(sql), sql).to.throw(/only added to/);
    }
  });

  const third = () => ids()[2] ?? '';
  const changes: [what: string, sql: () => string, at: () => string | null][] = [
    ['what changed', () => `UPDATE audit SET changes = '{"name":"x"}' WHERE id = '${third()}'`, third],
    ['what changed, emptied', () => `UPDATE audit SET changes = '{}' WHERE id = '${third()}'`, third],
    [
      'what changed, as after a purge',
      () => `UPDATE audit SET changes = '{}', private_salt = NULL WHERE id = '${third()}'`,
      third,
    ],
    ['the time', () => `UPDATE audit SET at = at + 1 WHERE id = '${third()}'`, third],
    ['the actor', () => `UPDATE audit SET actor_id = 'x' WHERE id = '${third()}'`, third],
    ["the actor's name", () => `UPDATE audit SET actor_name = 'x' WHERE id = '${third()}'`, third],
    ['the kind of actor', () => `UPDATE audit SET actor_kind = 'key' WHERE id = '${third()}'`, third],
    ['the action', () => `UPDATE audit SET action = 'x' WHERE id = '${third()}'`, third],
    ['the tenant', () => `UPDATE audit SET tenant_id = NULL WHERE id = '${third()}'`, third],
    ['the target', () => `UPDATE audit SET target_id = 'x' WHERE id = '${third()}'`, third],
    ['the request', () => `UPDATE audit SET request_id = 'x' WHERE id = '${third()}'`, third],
    ['the hash', () => `UPDATE audit SET hash = zeroblob(32) WHERE id = '${third()}'`, third],
    ['a row that is gone', () => `DELETE FROM audit WHERE id = '${ids()[1]}'`, third],
    ['a row cut off the end', () => `DELETE FROM audit WHERE id = '${ids()[3]}'`, () => null],
    ['rows cut off the end', () => `DELETE FROM audit WHERE seq > 2`, () => null],
    ['every row gone', () => 'DELETE FROM audit', () => null],
    [
      'two rows in each other’s place',
      () => `UPDATE audit SET seq = 100 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4;
             UPDATE audit SET seq = 4 WHERE seq = 100`,
      () => ids()[3] ?? '',
    ],
    [
      'a row from elsewhere',
      () => `INSERT INTO audit (id, at, actor_id, actor_name, action, changes)
             VALUES ('z', 1, 'a', 'Ada', 'key.create', '{}')`,
      () => 'z',
    ],
  ];
  for (const [what, sql, at] of changes) {
    it(`shows where it was tampered with: ${what}`, async () => {
      someRows();
      expect(await broken()).to.equal(null);
      const place = at();
      forge(sql());
      const found = await broken();
      expect(found?.id).to.equal(place);
      expect(found?.reason).to.match(/changed|missing|written/);
    });
  }

  it('shows where the last row is not the one that was written last', async () => {
    someRows();
    // As where somebody has written it anew, with hashes that fit.
    forge('UPDATE audit_head SET hash = zeroblob(32)');
    expect((await broken())?.reason).to.include('not the one that was written last');
  });

  it('shows where a row about no tenant was emptied, which no purge does', async () => {
    fixture.control.recordFileEvent({ action: 'logs.prune', tenantId: null, changes: { days: 1 } }, ADMIN);
    expect(await broken()).to.equal(null);
    forge("UPDATE audit SET changes = '{}', private_salt = NULL");
    expect((await broken())?.id).to.equal(ids()[0]);
  });

  for (const sql of [
    '',
    'DELETE FROM audit WHERE seq > 2;',
    "UPDATE audit SET action = 'x' WHERE seq = 2;",
    'DELETE FROM audit;',
  ]) {
    it(`is not begun anew where its head was taken away: ${sql || 'nothing else'}`, async () => {
      someRows();
      forge(`${sql} DELETE FROM audit_head;`);
      fixture.reopen();
      expect(await broken()).not.to.equal(null);
      someRows();
      fixture.reopen();
      expect(await broken()).not.to.equal(null);
    });
  }

  it('holds when a purge takes out what tells of a tenant, and shows a row that was changed after it', async () => {
    const kept = someRows();
    const { tenant, issued } = fixture.addTenant({ name: 'Zanzibar' });
    const self = { id: issued.key.id, name: 'Zanzibar key', requestId: null };
    fixture.control.createKey(tenant.id, { name: 'own' }, self);
    fixture.control.beginPurge(tenant.id, ADMIN);
    fixture.control.forgetTenant(tenant.id);
    expect(await broken()).to.equal(null);
    fixture.control.endPurge(tenant.id, ADMIN);
    expect(await broken()).to.equal(null);
    const rows = fixture.control.listAudit({ tenantId: tenant.id }, FIRST_PAGE).data;
    expect(rows.map(({ action, actor }) => [action, actor.kind, actor.name])).to.deep.equal([
      ['tenant.purge', 'admin', 'Ada'],
      ['tenant.purge', 'admin', 'Ada'],
      ['tenant.delete', 'admin', 'Ada'],
      ['key.create', 'key', ''],
      ['key.create', 'admin', 'Ada'],
      ['tenant.create', 'admin', 'Ada'],
    ]);
    expect(rows.slice(1).every((row) => Object.keys(row.changes).length === 0)).to.equal(true);
    expect(fixture.control.listAudit({ tenantId: kept.id }, FIRST_PAGE).data[1]?.changes).not.to.deep.equal(
      {},
    );
    forge(`UPDATE audit SET changes = '{"name":1}' WHERE id = '${rows[2]?.id}'`);
    expect((await broken())?.id).to.equal(rows[2]?.id);
  });

  it('chains the rows of earlier releases when it is opened first', async () => {
    fixture.control.close();
    rmSync(fixture.path);
    const earlier = [fixture.ids(), fixture.ids(), fixture.ids()];
    const [first = '', second = '', keyId = ''] = earlier;
    makeEarlier(
      fixture.path,
      4,
      `INSERT INTO tenants (id, name, status, metadata, limits, created_at)
         VALUES ('t', 'Acme', 'active', '{}', '{}', 1);
       INSERT INTO api_keys (id, tenant_id, name, scopes, salt, hash, created_at)
         VALUES ('${keyId}', 't', 'own', '[]', zeroblob(16), zeroblob(32), 1);
       INSERT INTO audit VALUES ('${first}', 1, 'a', 'Ada', 'tenant.create', 't', 't', 'r', '{"name":"Acme"}');
       INSERT INTO audit VALUES ('${second}', 2, '${keyId}', 'own', 'key.create', 't', 'k', 'r', '{}');`,
    );
    fixture.reopen();
    fixture.reopen();
    someRows();
    expect(await fixture.control.verifyAudit()).to.deep.equal({ rows: 6, broken: null });
    expect(ids().slice(0, 2)).to.deep.equal([first, second]);
    const [last] = fixture.control.listAudit({ until: 3 }, FIRST_PAGE).data.slice(-1);
    expect(
      fixture.control.listAudit({ tenantId: 't' }, FIRST_PAGE).data.map(({ actor }) => actor.kind),
    ).to.deep.equal(['key', 'admin']);
    expect(last).to.equal(undefined);
    forge(`UPDATE audit SET changes = '{"name":"Bcme"}' WHERE id = '${first}'`);
    expect((await broken())?.id).to.equal(first);
  });

  it('is verified a batch at a time, however long it is', async () => {
    const found = Array.from({ length: 601 }, () => ({
      id: fixture.ids(),
      name: 'Acme',
      status: 'active' as const,
      createdAt: 1,
    }));
    // Two rows for each, in one transaction.
    fixture.control.adoptTenants(found, ADMIN);
    const verifying = fixture.control.verifyAudit();
    // What is added meanwhile is not what is verified.
    fixture.addTenant();
    expect(await verifying).to.deep.equal({ rows: 1202, broken: null });
    forge('UPDATE audit SET at = 0 WHERE seq = 1111');
    expect((await broken())?.id).to.equal(ids()[1110]);
  });

  it('is listed newest first, by every filter, and every filter by an index', () => {
    const early = someRows();
    fixture.clock.pass(1000);
    const since = fixture.clock.now();
    const late = someRows();
    const list = (filter: AuditFilter) =>
      fixture.control.listAudit(filter, FIRST_PAGE).data.map(({ action, tenantId }) => [action, tenantId]);
    const all = (id: string) =>
      ['key.revoke', 'tenant.update', 'key.create', 'tenant.create'].map((action) => [action, id]);
    expect(list({})).to.deep.equal([...all(late.id), ...all(early.id)]);
    expect(list({ tenantId: early.id })).to.deep.equal(all(early.id));
    expect(list({ since })).to.deep.equal(all(late.id));
    expect(list({ until: since })).to.deep.equal(all(early.id));
    expect(list({ action: 'key.revoke' })).to.deep.equal([
      ['key.revoke', late.id],
      ['key.revoke', early.id],
    ]);
    expect(list({ actor: 'Ada', action: 'key.revoke', tenantId: late.id })).to.have.length(1);
    expect(list({ actor: 'Eve' })).to.deep.equal([]);
    const { data, nextCursor } = fixture.control.listAudit({ tenantId: late.id }, { limit: 3, cursor: null });
    expect(data).to.have.length(3);
    const rest = fixture.control.listAudit({ tenantId: late.id }, { limit: 3, cursor: nextCursor });
    expect([rest.data.map(({ action }) => action), rest.nextCursor]).to.deep.equal([['tenant.create'], null]);
  });

  it('is read by an index and without a sort for each combination of filters', () => {
    const conditions = ["tenant_id = 'x'", "actor_id = 'x'", "actor_name = 'x'", "action = 'x'", "id >= 'x'"];
    for (let chosen = 0; chosen < 1 << conditions.length; chosen += 1) {
      const where = ["id < '~'", ...conditions.filter((_, index) => (chosen & (1 << index)) !== 0)].join(
        ' AND ',
      );
      const plan = fixture.sql(
        `EXPLAIN QUERY PLAN SELECT * FROM audit WHERE ${where} ORDER BY id DESC LIMIT 20`,
      ) as { detail: string }[];
      expect(plan.map(({ detail }) => detail).join(), where)
        .to.match(/^SEARCH audit USING/)
        .and.not.match(/TEMP/);
    }
  });
});
