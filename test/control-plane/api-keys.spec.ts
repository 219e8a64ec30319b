import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { keyPrefix, makeKey } from '../../control-plane/key-format.ts';
import { ADMIN, createFixture, type Fixture, faultOf } from './setup.ts';

const FIRST_PAGE = { limit: 20, cursor: null };

describe('API keys', () => {
  let fixture: Fixture;
  beforeEach(() => {
    fixture = createFixture();
  });
  afterEach(() => fixture.remove());

  it('speak for their own tenant, with all three scopes unless fewer were asked for', () => {
    const { tenant, issued } = fixture.addTenant();
    const other = fixture.addTenant({ name: 'Other' });
    expect(fixture.control.findByKey(issued.secret)).to.deep.equal({
      tenant,
      key: { id: issued.key.id, name: 'default', scopes: ['chat', 'read', 'manage'] },
    });
    expect(fixture.control.findByKey(other.issued.secret)?.tenant).to.deep.equal(other.tenant);
    const reader = fixture.control.createKey(tenant.id, { name: 'ci', scopes: ['read', 'read'] }, ADMIN);
    expect(fixture.control.findByKey(reader.secret)?.key.scopes).to.deep.equal(['read']);
  });

  it('are listed newest first, revoked ones too, with nothing that opens anything', () => {
    const { tenant, issued } = fixture.addTenant();
    const second = fixture.control.createKey(tenant.id, { name: 'ci', expiresAt: 9e12 }, ADMIN);
    fixture.addTenant();
    fixture.clock.pass(5);
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    const { data } = fixture.control.listKeys(tenant.id, FIRST_PAGE);
    expect(data).to.deep.equal([second.key, { ...issued.key, revokedAt: fixture.clock.now() }]);
    expect(data[0]).to.deep.equal({
      id: second.key.id,
      tenantId: tenant.id,
      name: 'ci',
      prefix: keyPrefix(second.key.id),
      scopes: ['chat', 'read', 'manage'],
      createdAt: fixture.clock.now() - 5,
      expiresAt: 9e12,
      lastUsedAt: null,
      revokedAt: null,
    });
  });

  it('page by cursor', () => {
    const { tenant, issued } = fixture.addTenant();
    const second = fixture.control.createKey(tenant.id, { name: 'ci' }, ADMIN);
    const page = fixture.control.listKeys(tenant.id, { limit: 1, cursor: null });
    expect(page.data).to.deep.equal([second.key]);
    expect(fixture.control.listKeys(tenant.id, { limit: 1, cursor: page.nextCursor })).to.deep.equal({
      data: [issued.key],
      nextCursor: null,
    });
  });

  it('are dead at the very next look once revoked, for good', () => {
    const { tenant, issued } = fixture.addTenant();
    const second = fixture.control.createKey(tenant.id, { name: 'ci' }, ADMIN);
    expect(fixture.control.findByKey(issued.secret)).to.not.equal(undefined);
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    expect(fixture.control.findByKey(issued.secret)).to.equal(undefined);
    expect(fixture.control.findByKey(second.secret)).to.not.equal(undefined);
    fixture.reopen();
    expect(fixture.control.findByKey(issued.secret)).to.equal(undefined);
  });

  it('are dead at once also when another process revoked them', () => {
    const { issued } = fixture.addTenant();
    expect(fixture.control.findByKey(issued.secret)).to.not.equal(undefined);
    fixture.sql('UPDATE api_keys SET revoked_at = 1 WHERE id = ?', issued.key.id);
    expect(fixture.control.findByKey(issued.secret)).to.equal(undefined);
  });

  it('may be revoked twice; the time is that of the first', () => {
    const { tenant, issued } = fixture.addTenant();
    const revokedAt = fixture.clock.now();
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    fixture.clock.pass(1000);
    fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
    expect(fixture.control.listKeys(tenant.id, FIRST_PAGE).data[0]?.revokedAt).to.equal(revokedAt);
  });

  it('cannot be revoked through another tenant, which answers as for a key that never was', () => {
    const { issued } = fixture.addTenant();
    const other = fixture.addTenant().tenant;
    const refusals = [issued.key.id, fixture.ids(), 'x', ''].map((keyId) =>
      faultOf(() => fixture.control.revokeKey(other.id, keyId, ADMIN)),
    );
    for (const refusal of refusals) {
      expect(refusal).to.deep.equal({ code: 'not_found', message: 'There is no such resource.' });
    }
    expect(fixture.control.findByKey(issued.secret)).to.not.equal(undefined);
  });

  it('live up to their expiry and not a millisecond longer', () => {
    const { tenant } = fixture.addTenant();
    const expiresAt = fixture.clock.now() + 1000;
    const { secret } = fixture.control.createKey(tenant.id, { name: 'short', expiresAt }, ADMIN);
    fixture.clock.pass(999);
    expect(fixture.control.findByKey(secret)).to.not.equal(undefined);
    fixture.clock.pass(1);
    expect(fixture.control.findByKey(secret)).to.equal(undefined);
  });

  it('are dead with their tenant', () => {
    const { tenant, issued } = fixture.addTenant();
    fixture.sql("UPDATE tenants SET status = 'deleted' WHERE id = ?", tenant.id);
    expect(fixture.control.findByKey(issued.secret)).to.equal(undefined);
  });

  it('need their own secret: a well-formed key with the right id and another secret is unknown', () => {
    const { issued } = fixture.addTenant();
    expect(fixture.control.findByKey(makeKey(issued.key.id).text)).to.equal(undefined);
    expect(fixture.control.findByKey(makeKey(fixture.ids()).text)).to.equal(undefined);
    const [, , tail] = fixture.addTenant().issued.secret.split('_');
    expect(fixture.control.findByKey(`${issued.key.prefix}_${tail}`)).to.equal(undefined);
  });

  it('cost no look into the database when mistyped', () => {
    const { issued } = fixture.addTenant();
    const mistyped = issued.secret.slice(0, -1) + (issued.secret.endsWith('x') ? 'y' : 'x');
    fixture.control.close();
    // A look at a closed database throws.
    expect(fixture.control.findByKey(mistyped)).to.equal(undefined);
    expect(() => fixture.control.findByKey(issued.secret)).to.throw(/not open/);
  });

  it('remember when they were last used, across a restart, and a failed use is none', () => {
    const { tenant, issued } = fixture.addTenant();
    const lastUsedAt = () => fixture.control.listKeys(tenant.id, FIRST_PAGE).data[0]?.lastUsedAt;
    fixture.control.findByKey(makeKey(issued.key.id).text);
    expect(lastUsedAt()).to.equal(null);
    fixture.clock.pass(10);
    fixture.control.findByKey(issued.secret);
    const usedAt = fixture.clock.now();
    fixture.clock.pass(10);
    expect(lastUsedAt()).to.equal(usedAt);
    fixture.control.findByKey(issued.secret);
    fixture.reopen();
    expect(lastUsedAt()).to.equal(usedAt + 10);
  });

  it('work while the database takes no writes', () => {
    const { tenant, issued } = fixture.addTenant();
    fixture.sql("CREATE TRIGGER full BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'full'); END");
    fixture.clock.pass(61_000);
    expect(fixture.control.findByKey(issued.secret)?.tenant).to.deep.equal(tenant);
    fixture.sql('DROP TRIGGER full');
    expect(fixture.control.listKeys(tenant.id, FIRST_PAGE).data[0]?.lastUsedAt).to.equal(fixture.clock.now());
  });

  it('have a salt of their own and leave neither text nor secret in any file', () => {
    const { tenant, issued } = fixture.addTenant();
    const { secret } = fixture.control.createKey(tenant.id, { name: 'second' }, ADMIN);
    fixture.control.findByKey(secret);
    const salts = fixture.sql('SELECT DISTINCT hex(salt) FROM api_keys');
    expect(salts).to.have.length(2);
    const parts = [issued.secret, secret].flatMap((text) => [text, text.slice(37, 80), text.slice(37)]);
    const expectAbsence = (files: string[]) => {
      for (const name of files) {
        const bytes = readFileSync(join(fixture.folder, name));
        for (const part of parts) expect(bytes.includes(part), name).to.equal(false);
      }
    };
    // Of a database in use only the -wal: closing another of its files would drop SQLite's locks.
    expectAbsence(['control.db-wal']);
    fixture.control.close();
    expectAbsence(readdirSync(fixture.folder));
    // The search does find what is there.
    expect(readFileSync(fixture.path).includes(issued.key.id)).to.equal(true);
  });
});
