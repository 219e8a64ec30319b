import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { openControlPlane } from '../../control-plane/control-plane.ts';
import type { Session } from '../../control-plane/types.ts';
import { until } from '../support/tenant-files.ts';
import { ADMIN, createFixture, type Fixture } from './setup.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

describe('sessions', () => {
  let fixture: Fixture;
  beforeEach(() => {
    // What argon2 promises is tested where it is used.
    fixture = createFixture({ hash: async (token) => token, verify: async (hash, token) => hash === token });
  });
  afterEach(() => fixture.remove());

  const signIn = (apiKey: string) => fixture.control.signIn({ apiKey }, '192.0.2.1', 'req-1');
  const isAlive = (text: string): boolean => fixture.control.findSession(text) !== undefined;
  const rows = (): unknown[] => fixture.sql('SELECT * FROM sessions');
  const sessionOf = (text: string): Session => {
    const session = fixture.control.findSession(text);
    if (!session) throw new Error('There is no such session.');
    return session;
  };

  it('go on with the old secret of a rotated key as long as that does', async () => {
    const { tenant, issued } = fixture.addTenant();
    const { text: old } = await signIn(issued.secret);
    const rotate = (overlapMs: number) =>
      fixture.control.rotateKey(tenant.id, issued.key.id, { overlapMs }, ADMIN).secret;
    const { text: middle } = await signIn(rotate(HOUR_MS));
    expect([isAlive(old), isAlive(middle)]).to.deep.equal([true, true]);
    const { text: latest } = await signIn(rotate(10 * MINUTE_MS));
    expect([isAlive(old), isAlive(middle), isAlive(latest)]).to.deep.equal([false, true, true]);
    fixture.clock.pass(10 * MINUTE_MS);
    expect([isAlive(middle), isAlive(latest)]).to.deep.equal([false, true]);
    rotate(0);
    expect(isAlive(latest)).to.equal(false);
  });

  it('are rows no longer once their credential is not in force', async () => {
    const { tenant, issued } = fixture.addTenant();
    const { token, secret } = await fixture.control.createAdminToken(
      { name: 'Ada', role: 'operator' },
      ADMIN,
    );
    const ends = [
      () => fixture.control.rotateKey(tenant.id, issued.key.id, { overlapMs: 0 }, ADMIN),
      () => fixture.control.revokeAdminToken(token.id, ADMIN),
      () => fixture.control.deleteTenant(tenant.id, ADMIN),
    ];
    await signIn(issued.secret);
    await fixture.control.signIn({ adminToken: secret }, '192.0.2.1', 'req-1');
    const { secret: other } = fixture.control.createKey(tenant.id, { name: 'other' }, ADMIN);
    await signIn(other);
    for (const [index, end] of ends.entries()) {
      expect(rows()).to.have.length(3 - index);
      end();
    }
    expect(rows()).to.deep.equal([]);
  });

  it('end with the stored admin token where another one takes its place', async () => {
    await fixture.control.setAdminToken('the-first-chosen-token');
    const given = { adminToken: 'the-first-chosen-token' };
    const { text } = await fixture.control.signIn(given, '192.0.2.1', 'req-1');
    await fixture.control.setAdminToken('the-first-chosen-token');
    expect(isAlive(text), 'the same one again').to.equal(true);
    await fixture.control.setAdminToken('the-second-chosen-token');
    expect(isAlive(text)).to.equal(false);
    expect(rows()).to.deep.equal([]);
  });

  it('are removed some time after they have ended, and only those', async () => {
    const { issued } = fixture.addTenant();
    await signIn(issued.secret);
    fixture.clock.pass(20 * MINUTE_MS);
    const { text } = await signIn(issued.secret);
    fixture.clock.pass(10 * MINUTE_MS);
    expect(fixture.control.removeExpiredSessions()).to.equal(1);
    expect(isAlive(text)).to.equal(true);
    fixture.clock.pass(29 * MINUTE_MS);
    // Its use is noted in memory only.
    expect(fixture.control.removeExpiredSessions()).to.equal(0);
    expect(isAlive(text)).to.equal(true);
  });

  it('keep their last use across a restart', async () => {
    const { issued } = fixture.addTenant();
    const { text } = await signIn(issued.secret);
    fixture.clock.pass(20 * MINUTE_MS);
    expect(isAlive(text)).to.equal(true);
    fixture.reopen();
    fixture.clock.pass(29 * MINUTE_MS);
    expect(isAlive(text)).to.equal(true);
    fixture.clock.pass(30 * MINUTE_MS);
    expect(isAlive(text)).to.equal(false);
  });

  it('go on in every process while they are used in any', async () => {
    const other = openControlPlane({ path: fixture.path, clock: fixture.clock, ids: fixture.ids });
    try {
      const { issued } = fixture.addTenant();
      const { text } = await signIn(issued.secret);
      fixture.clock.pass(29 * MINUTE_MS);
      expect(isAlive(text)).to.equal(true);
      fixture.clock.pass(2 * MINUTE_MS);
      expect(other.removeExpiredSessions()).to.equal(0);
      expect(other.findSession(text)).not.to.equal(undefined);
      fixture.clock.pass(MINUTE_MS / 2);
      expect(other.findSession(text), 'noted there').not.to.equal(undefined);
      fixture.clock.pass(MINUTE_MS / 2);
      expect(isAlive(text)).to.equal(true);
    } finally {
      // Writes down the earlier use after the later one.
      other.close();
    }
    expect(fixture.sql('SELECT last_used_at FROM sessions')).to.deep.equal([
      { last_used_at: fixture.clock.now() },
    ]);
  });

  it('are at most a hundred of one key: the oldest gives way', async () => {
    const { issued } = fixture.addTenant();
    const { text: first } = await signIn(issued.secret);
    const { text: second } = await signIn(issued.secret);
    for (let n = 2; n < 101; n += 1) await signIn(issued.secret);
    expect([isAlive(first), isAlive(second), rows().length]).to.deep.equal([false, true, 100]);
  });

  it('are in no copy of control.db', async () => {
    const { issued } = fixture.addTenant();
    const { text } = await signIn(issued.secret);
    const path = join(fixture.folder, 'second.db');
    expect((await fixture.control.snapshot(path)).rows.sessions).to.equal(0);
    const copy = new Database(path, { readonly: true });
    try {
      expect(copy.prepare('SELECT count(*) FROM sessions').pluck().get()).to.equal(0);
    } finally {
      copy.close();
    }
    expect(isAlive(text)).to.equal(true);
  });

  it('leave a row in the audit for each that begins and each that somebody ends', async () => {
    const { tenant, issued } = fixture.addTenant();
    const { session, text } = await signIn(issued.secret);
    fixture.control.signOut(sessionOf(text), 'req-2', { everywhere: false });
    fixture.control.signOut(session, 'req-3', { everywhere: false });
    const { data } = fixture.control.listAudit({ tenantId: tenant.id }, { limit: 2, cursor: null });
    expect(data.map(({ action, targetId, requestId }) => [action, targetId, requestId])).to.deep.equal([
      ['session.delete', session.id, 'req-2'],
      ['session.create', session.id, 'req-1'],
    ]);
    expect((await fixture.control.verifyAudit()).broken).to.equal(null);
  });
});

describe('a session that several processes serve', () => {
  it('goes on at all while it is used at one of them, and no later use is undone by an earlier one', async () => {
    const fixture = createFixture(undefined, { idleMs: 40, lifetimeMs: HOUR_MS });
    const [one, two] = [fixture.another(), fixture.another()];
    const { issued } = fixture.addTenant();
    const { text } = await fixture.control.signIn({ apiKey: issued.secret }, '192.0.2.1', 'req-1');
    const begunAt = fixture.clock.now();
    const lastUse = (): number => {
      const [row] = fixture.sql('SELECT last_used_at AS at FROM sessions') as { at: number }[];
      return (row?.at ?? 0) - begunAt;
    };
    fixture.clock.pass(30);
    expect(one.findSession(text)).to.be.an('object');
    await until(() => lastUse() === 30);
    fixture.clock.pass(30);
    expect(two.findSession(text)).to.be.an('object');
    fixture.clock.pass(5);
    expect(one.findSession(text)).to.be.an('object');
    one.close();
    two.close();
    expect(lastUse()).to.equal(65);
    fixture.remove();
  });
});
