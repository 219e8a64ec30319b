import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import { expect } from 'chai';
import { keyPrefix, makeKey } from '../../control-plane/key-format.ts';
import type { Scope } from '../../control-plane/types.ts';
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

  describe('that are rotated', () => {
    const SECOND_MS = 1000;
    const works = (secret: string) => fixture.control.findByKey(secret) !== undefined;
    const rotate = (tenantId: string, keyId: string, overlapMs: number) =>
      fixture.control.rotateKey(tenantId, keyId, { overlapMs }, ADMIN);

    it('keep everything but their secret, and the old one is dead at once without an overlap', () => {
      const { tenant, issued } = fixture.addTenant();
      fixture.control.findByKey(issued.secret);
      const lastUsedAt = fixture.clock.now();
      fixture.clock.pass(5);
      const rotated = rotate(tenant.id, issued.key.id, 0);
      expect(rotated.key).to.deep.equal({ ...issued.key, lastUsedAt });
      expect(rotated.secret).to.not.equal(issued.secret);
      expect([works(issued.secret), works(rotated.secret)]).to.deep.equal([false, true]);
      const { id, name, scopes } = issued.key;
      expect(fixture.control.findByKey(rotated.secret)).to.deep.equal({ tenant, key: { id, name, scopes } });
      expect(fixture.control.listKeys(tenant.id, FIRST_PAGE).data).to.have.length(1);
    });

    it('open with both secrets up to the end of the overlap and not a millisecond longer', () => {
      const { tenant, issued } = fixture.addTenant();
      const { key, secret } = rotate(tenant.id, issued.key.id, SECOND_MS);
      expect(fixture.control.findByKey(issued.secret)).to.deep.equal(fixture.control.findByKey(secret));
      fixture.reopen();
      fixture.clock.pass(SECOND_MS - 1);
      expect([works(issued.secret), works(secret)]).to.deep.equal([true, true]);
      expect(works(makeKey(key.id).text), 'a third secret').to.equal(false);
      fixture.clock.pass(1);
      expect([works(issued.secret), works(secret)]).to.deep.equal([false, true]);
    });

    it('open with the newest two secrets at most, however often they are rotated', () => {
      const { tenant, issued } = fixture.addTenant();
      const second = rotate(tenant.id, issued.key.id, 60 * SECOND_MS).secret;
      const third = rotate(tenant.id, issued.key.id, SECOND_MS).secret;
      expect([issued.secret, second, third].map(works)).to.deep.equal([false, true, true]);
      const last = rotate(tenant.id, issued.key.id, 0).secret;
      expect([issued.secret, second, third, last].map(works)).to.deep.equal([false, false, false, true]);
    });

    it('take both secrets with them when they are revoked, or expire', () => {
      const { tenant, issued } = fixture.addTenant();
      const { secret } = rotate(tenant.id, issued.key.id, 60 * SECOND_MS);
      fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
      expect([issued.secret, secret].map(works)).to.deep.equal([false, false]);
      const expiresAt = fixture.clock.now() + SECOND_MS;
      const short = fixture.control.createKey(tenant.id, { name: 'short', expiresAt }, ADMIN);
      const renewed = rotate(tenant.id, short.key.id, 60 * SECOND_MS);
      expect(renewed.key.expiresAt).to.equal(expiresAt);
      fixture.clock.pass(SECOND_MS);
      expect([short.secret, renewed.secret].map(works)).to.deep.equal([false, false]);
    });

    it('must be in force: one revoked, expired, unknown or of another tenant is refused', () => {
      const { tenant, issued } = fixture.addTenant();
      const other = fixture.addTenant();
      const expiresAt = fixture.clock.now() + SECOND_MS;
      const short = fixture.control.createKey(tenant.id, { name: 'short', expiresAt }, ADMIN);
      fixture.clock.pass(SECOND_MS);
      expect(faultOf(() => rotate(tenant.id, short.key.id, 0)).code).to.equal('validation_failed');
      fixture.control.revokeKey(tenant.id, issued.key.id, ADMIN);
      const auditRows = fixture.sql('SELECT * FROM audit');
      for (const keyId of [issued.key.id, other.issued.key.id, fixture.ids(), 'x']) {
        const fault = { code: 'not_found', message: 'There is no such resource.' };
        expect(faultOf(() => rotate(tenant.id, keyId, 0))).to.deep.equal(fault);
      }
      expect(works(other.issued.secret)).to.equal(true);
      expect(fixture.sql('SELECT * FROM audit')).to.deep.equal(auditRows);
    });

    it('are refused to who may get less than they allow', () => {
      const { tenant, issued } = fixture.addTenant();
      const asManager = (keyId: string) =>
        fixture.control.rotateKey(tenant.id, keyId, { overlapMs: 0, scopesMax: ['manage'] }, ADMIN);
      expect(faultOf(() => asManager(issued.key.id)).code).to.equal('insufficient_scope');
      expect(works(issued.secret)).to.equal(true);
      const manager = fixture.control.createKey(tenant.id, { name: 'manager', scopes: ['manage'] }, ADMIN);
      expect(works(asManager(manager.key.id).secret)).to.equal(true);
    });

    it('leave an audit row with the overlap, and do not change where that cannot be written', () => {
      const { tenant, issued } = fixture.addTenant();
      rotate(tenant.id, issued.key.id, 90 * SECOND_MS);
      const rows = fixture.sql(
        "SELECT actor_name, tenant_id, target_id, request_id, changes FROM audit WHERE action = 'key.rotate'",
      );
      expect(rows).to.deep.equal([
        {
          actor_name: 'Ada',
          tenant_id: tenant.id,
          target_id: issued.key.id,
          request_id: 'req-1',
          changes: '{"name":"default","overlap_seconds":90}',
        },
      ]);
      fixture.sql(
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no audit'); END",
      );
      expect(() => rotate(tenant.id, issued.key.id, 0)).to.throw(/no audit/);
      expect(works(issued.secret)).to.equal(true);
    });
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

  it('write no use down in the request itself: on a timer, once a minute, however often they are used', () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      const { issued } = fixture.addTenant();
      const written = () =>
        fixture.sql('SELECT last_used_at AS at FROM api_keys WHERE id = ?', issued.key.id) as {
          at: number;
        }[];
      fixture.sql('CREATE TABLE writes (at INTEGER)');
      fixture.sql(
        'CREATE TRIGGER counted AFTER UPDATE ON api_keys BEGIN INSERT INTO writes VALUES (NEW.last_used_at); END',
      );
      const minute = (uses: number) => {
        for (let use = 0; use < uses; use += 1) {
          fixture.clock.pass(60_000 / uses);
          fixture.control.findByKey(issued.secret);
        }
      };
      minute(6);
      const usedAt = fixture.clock.now();
      expect(written()).to.deep.equal([{ at: null }]);
      mock.timers.tick(59_999);
      expect(written()).to.deep.equal([{ at: null }]);
      mock.timers.tick(1);
      expect(written()).to.deep.equal([{ at: usedAt }]);
      minute(100);
      mock.timers.tick(60_000);
      expect(fixture.sql('SELECT count(*) AS writes FROM writes')).to.deep.equal([{ writes: 2 }]);
    } finally {
      mock.timers.reset();
    }
  });

  it('are kept from locking their tenant out: the last that can manage, and lasts so long, stays', () => {
    const { tenant, issued } = fixture.addTenant();
    const { control } = fixture;
    const make = (expiresIn: number | null, scopes?: Scope[]) =>
      control.createKey(
        tenant.id,
        {
          name: 'k',
          ...(scopes && { scopes }),
          expiresAt: expiresIn === null ? null : fixture.clock.now() + expiresIn,
        },
        ADMIN,
      ).key.id;
    const revoke = (keyId: string) => control.revokeKey(tenant.id, keyId, ADMIN, { keepManager: true });
    const refused = (keyId: string) =>
      expect(faultOf(() => revoke(keyId)).code).to.equal('validation_failed');
    refused(issued.key.id);
    const soon = make(1000);
    make(null, ['chat', 'read']);
    // One that is about to expire would only put the lock-out off.
    refused(issued.key.id);
    revoke(soon);
    const later = make(5000);
    const latest = make(6000);
    const lasting = make(null);
    revoke(issued.key.id);
    control.revokeKey(tenant.id, lasting, ADMIN);
    refused(latest);
    revoke(later);
    refused(latest);
    // One that opens nothing any more may go.
    fixture.clock.pass(6000);
    revoke(latest);
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
    const rotated = fixture.control.rotateKey(tenant.id, issued.key.id, { overlapMs: 1000 }, ADMIN).secret;
    fixture.control.findByKey(issued.secret);
    const salts = fixture.sql('SELECT salt FROM api_keys UNION SELECT replaced_salt FROM api_keys');
    // Two keys, a replaced secret, and a key without one.
    expect(salts).to.have.length(3 + 1);
    const parts = [issued.secret, secret, rotated].flatMap((text) => [
      text,
      text.slice(37, 80),
      text.slice(37),
    ]);
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
