import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { isAdminToken, type TokenHasher } from '../../control-plane/admin-tokens.ts';
import { makeKey, parseKey } from '../../control-plane/key-format.ts';
import type { AdminRole } from '../../control-plane/types.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { ADMIN, createFixture, type Fixture } from './setup.ts';

const TOKEN = 'correct horse battery staple';
const ADDRESS = '192.0.2.1';

/** Stands in for argon2 and counts what it is asked; verifications wait while the gate is closed. */
function createHasher() {
  const hasher = {
    verifications: 0,
    running: 0,
    runningMax: 0,
    gate: Promise.resolve(),
    hash: async (token: string) => `hash of ${token}`,
    verify: async (hash: string, token: string) => {
      hasher.verifications += 1;
      hasher.running += 1;
      hasher.runningMax = Math.max(hasher.runningMax, hasher.running);
      await hasher.gate;
      hasher.running -= 1;
      return hash === `hash of ${token}`;
    },
  } satisfies TokenHasher & Record<string, unknown>;
  return hasher;
}

/** A gate that stays closed until it is opened. */
function createGate() {
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { gate, open: () => open() };
}

async function rejection(work: Promise<unknown>): Promise<Fault> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('Nothing was rejected.');
}

describe('the admin token, with argon2', () => {
  it('is made once, opens, is kept only as an argon2id hash, and is replaced by one that is set', async () => {
    const fixture = createFixture();
    try {
      const made = await fixture.control.ensureAdminToken();
      expect(made).to.match(/^nba_[0-9a-f]{32}_[0-9A-Za-z]{49}$/);
      if (made === null) return;
      expect(await fixture.control.ensureAdminToken()).to.equal(null);
      const actor = await fixture.control.findAdmin(made, ADDRESS);
      expect(actor).to.include({ name: 'admin', role: 'owner', requestId: null });
      expect(await fixture.control.findAdmin(`${made.slice(0, -1)}-`, ADDRESS)).to.equal(undefined);
      expect(fixture.sql('SELECT substr(hash, 1, 10) AS hash FROM admin_tokens')).to.deep.equal([
        { hash: '$argon2id$' },
      ]);

      fixture.reopen();
      expect(await fixture.control.ensureAdminToken()).to.equal(null);
      await fixture.control.setAdminToken(TOKEN);
      expect(await fixture.control.findAdmin(made, ADDRESS)).to.equal(undefined);
      expect(await fixture.control.findAdmin(TOKEN, ADDRESS)).to.not.equal(undefined);

      fixture.control.close();
      for (const name of readdirSync(fixture.folder)) {
        const bytes = readFileSync(join(fixture.folder, name));
        for (const text of [made, made.slice(4), TOKEN]) expect(bytes.includes(text)).to.equal(false);
      }
    } finally {
      fixture.remove();
    }
  });
});

describe('the stored admin token', () => {
  let hasher: ReturnType<typeof createHasher>;
  let fixture: Fixture;
  beforeEach(() => {
    hasher = createHasher();
    fixture = createFixture(hasher);
  });
  afterEach(() => fixture.remove());

  const find = (token: string, address = ADDRESS) => fixture.control.findAdmin(token, address);
  /** As a start finds it that is not given its text any more: only its hash is known. */
  const setBefore = async (token: string) => {
    await fixture.control.setAdminToken(token);
    fixture.reopen();
    hasher.verifications = 0;
  };

  it('is nobody while there is none', async () => {
    expect(await find(TOKEN)).to.equal(undefined);
  });

  it('costs no verification where this start was given its text', async () => {
    await fixture.control.setAdminToken(TOKEN);
    expect((await find(TOKEN))?.role).to.equal('owner');
    await find(wrong(1));
    expect(hasher.verifications).to.equal(0);
  });

  it('costs one verification where only its hash is known, and nothing else is verified after it', async () => {
    await setBefore(TOKEN);
    for (let i = 0; i < 100; i += 1) expect(await find(TOKEN)).to.not.equal(undefined);
    fixture.clock.pass(60 * 60_000);
    for (let i = 0; i < 100; i += 1) await find(wrong(i)).catch(() => undefined);
    expect(await find(TOKEN)).to.not.equal(undefined);
    expect(hasher.verifications).to.equal(1);
  });

  it('is dead at once when replaced, although it was remembered', async () => {
    await fixture.control.setAdminToken(TOKEN);
    const before = await find(TOKEN);
    await fixture.control.setAdminToken('another long token');
    expect(await find(TOKEN)).to.equal(undefined);
    const after = await find('another long token');
    expect(after?.id).to.not.equal(before?.id);
    fixture.sql('DELETE FROM admin_tokens');
    expect(await find('another long token')).to.equal(undefined);
  });

  it('is dead when it is replaced while it is being verified', async () => {
    await setBefore(TOKEN);
    const { gate, open } = createGate();
    hasher.gate = gate;
    const finding = find(TOKEN);
    fixture.sql("UPDATE admin_tokens SET hash = 'hash of something else'");
    open();
    expect(await finding).to.equal(undefined);
  });

  it('is left alone, its row too, when the same one is set again', async () => {
    const rows = () => fixture.sql('SELECT * FROM admin_tokens');
    await fixture.control.setAdminToken(TOKEN);
    const before = rows();
    await fixture.control.setAdminToken(TOKEN);
    expect(rows()).to.deep.equal(before);
    await fixture.control.setAdminToken('another long token');
    expect(rows()).to.have.length(1);
    expect(fixture.sql('SELECT actor_name, action FROM audit')).to.deep.equal([
      { actor_name: 'system', action: 'admin_token.create' },
      { actor_name: 'system', action: 'admin_token.replace' },
    ]);
  });

  it('is refused unverified where it cannot be one', async () => {
    await fixture.control.setAdminToken(TOKEN);
    const { secret } = fixture.addTenant().issued;
    for (const text of ['', 'x'.repeat(15), 'x'.repeat(513), secret, 'naïve but long enough', ` ${TOKEN}`]) {
      expect(isAdminToken(text)).to.equal(false);
      expect(await find(text)).to.equal(undefined);
      expect((await rejection(fixture.control.setAdminToken(text))).code).to.equal('validation_failed');
    }
    expect(hasher.verifications).to.equal(0);
    for (const text of ['x'.repeat(16), 'x'.repeat(512)]) expect(isAdminToken(text)).to.equal(true);
  });

  it('may be tried 20 times at once from one address, while only its hash is known', async () => {
    await setBefore(TOKEN);
    for (let i = 0; i < 20; i += 1) expect(await find(wrong(i))).to.equal(undefined);
    expect(await rejection(find(wrong(20)))).to.deep.include({
      code: 'rate_limited',
      details: { retryAfterSeconds: 1 },
    });
    expect((await rejection(find(TOKEN))).code).to.equal('rate_limited');
    expect(await find(TOKEN, '192.0.2.2')).to.not.equal(undefined);
    // What another address had verified needs no argon2, hence no attempt.
    expect(await find(TOKEN)).to.not.equal(undefined);
    expect(hasher.verifications).to.equal(21);
  });

  it('is verified one at a time, and for the same token only once', async () => {
    await setBefore(TOKEN);
    const { gate, open } = createGate();
    hasher.gate = gate;
    const right = Array.from({ length: 50 }, () => find(TOKEN));
    const others = Array.from({ length: 10 }, (_, i) => find(wrong(i)));
    open();
    for (const actor of await Promise.all(right)) expect(actor?.name).to.equal('admin');
    expect(await Promise.all(others)).to.deep.equal(Array.from({ length: 10 }, () => undefined));
    expect(hasher.verifications).to.equal(11);
    expect(hasher.runningMax).to.equal(1);
  });

  it('keeps no more than 64 attempts waiting, from whatever addresses', async () => {
    await setBefore(TOKEN);
    const { gate, open } = createGate();
    hasher.gate = gate;
    const waiting = Array.from({ length: 64 }, (_, i) => find(wrong(i), `192.0.2.${i}`));
    expect((await rejection(find(wrong(64), '198.51.100.1'))).code).to.equal('rate_limited');
    open();
    await Promise.all(waiting);
    expect(await find(TOKEN, '198.51.100.1')).to.not.equal(undefined);
  });

  it('can be verified after a verification that failed', async () => {
    await setBefore(TOKEN);
    hasher.gate = Promise.reject(new Error('out of memory'));
    await find(TOKEN).then(
      () => expect.fail('should have failed'),
      (error: Error) => expect(error.message).to.equal('out of memory'),
    );
    hasher.gate = Promise.resolve();
    expect(await find(TOKEN)).to.not.equal(undefined);
  });

  it('never stands in the audit table', async () => {
    const made = await fixture.control.ensureAdminToken();
    const [row] = fixture.sql('SELECT group_concat(changes || action || actor_name) AS text FROM audit');
    expect(JSON.stringify(row)).to.include('admin_token.create').and.not.include(made);
  });
});

describe('admin tokens', () => {
  let hasher: ReturnType<typeof createHasher>;
  let fixture: Fixture;
  beforeEach(() => {
    hasher = createHasher();
    fixture = createFixture(hasher);
  });
  afterEach(() => fixture.remove());

  const find = (token: string, address = ADDRESS) => fixture.control.findAdmin(token, address);
  const create = (name: string, role: AdminRole) => fixture.control.createAdminToken({ name, role }, ADMIN);
  const PAGE = { limit: 20, cursor: null };
  const actions = () =>
    fixture.sql("SELECT action, json_extract(changes, '$.name') AS name FROM audit ORDER BY id");
  /** Another secret under the same id, well formed. */
  const wrongSecretOf = (secret: string): string =>
    makeKey(parseKey(secret, 'nba_')?.keyId ?? '', 'nba_').text;

  it('speak each for itself, with their role, and are listed without their texts', async () => {
    const made = [
      await create('Ada', 'owner'),
      await create('Bo', 'operator'),
      await create('Cy', 'auditor'),
    ];
    for (const { token, secret } of made) {
      expect(secret).to.match(/^nba_[0-9a-f]{32}_[0-9A-Za-z]{49}$/);
      expect(await find(secret)).to.deep.equal({
        id: token.id,
        name: token.name,
        role: token.role,
        requestId: null,
      });
    }
    const { data } = fixture.control.listAdminTokens(PAGE);
    expect(data.map(({ name, role }) => [name, role])).to.deep.equal([
      ['Cy', 'auditor'],
      ['Bo', 'operator'],
      ['Ada', 'owner'],
    ]);
    const first = fixture.control.listAdminTokens({ limit: 2, cursor: null });
    const second = fixture.control.listAdminTokens({ limit: 2, cursor: first.nextCursor });
    expect([...first.data, ...second.data]).to.deep.equal(data);
    expect(JSON.stringify(data)).not.to.match(/hash|tag/);
    for (const { secret } of made) expect(JSON.stringify(data)).not.to.include(secret);
  });

  it('are dead on the very next request once revoked, although they were verified', async () => {
    await create('Ada', 'owner');
    const { token, secret } = await create('Bo', 'operator');
    expect(await find(secret)).not.to.equal(undefined);
    fixture.control.revokeAdminToken(token.id, ADMIN);
    fixture.control.revokeAdminToken(token.id, ADMIN);
    expect(await find(secret)).to.equal(undefined);
    expect(actions().slice(-1)).to.deep.equal([{ action: 'admin_token.revoke', name: 'Bo' }]);
    expect(
      (await rejection(Promise.resolve().then(() => fixture.control.revokeAdminToken(fixture.ids(), ADMIN))))
        .code,
    ).to.equal('not_found');
  });

  it('are dead when they are revoked while they are being verified', async () => {
    await create('Ada', 'owner');
    const { token, secret } = await create('Bo', 'operator');
    const { gate, open } = createGate();
    hasher.gate = gate;
    const finding = find(secret);
    fixture.control.revokeAdminToken(token.id, ADMIN);
    open();
    expect(await finding).to.equal(undefined);
  });

  it('make no other one where they are revoked while it is being made', async () => {
    await create('Ada', 'owner');
    const { token: own } = await create('Eve', 'owner');
    const eve = { id: own.id, name: own.name, requestId: null };
    const making = fixture.control.createAdminToken({ name: 'back door', role: 'owner' }, eve);
    fixture.control.revokeAdminToken(own.id, ADMIN);
    expect((await rejection(making)).code).to.equal('unauthorized');
    expect(fixture.control.listAdminTokens(PAGE).data.map(({ name }) => name)).to.deep.equal(['Eve', 'Ada']);
  });

  it('never lose the last one of an owner', async () => {
    await fixture.control.ensureAdminToken();
    const [stored] = fixture.control.listAdminTokens(PAGE).data;
    const other = await create('Ada', 'owner');
    await create('Bo', 'operator');
    fixture.control.revokeAdminToken(stored?.id ?? '', ADMIN);
    const fault = await rejection(
      Promise.resolve().then(() => fixture.control.revokeAdminToken(other.token.id, ADMIN)),
    );
    expect(fault.code).to.equal('validation_failed');
    expect(await find(other.secret)).not.to.equal(undefined);
    expect(await fixture.control.ensureAdminToken()).to.equal(null);
  });

  it('stay when the stored one is replaced, whose name none of them may have', async () => {
    const { secret } = await create('Ada', 'owner');
    await fixture.control.setAdminToken(TOKEN);
    await fixture.control.setAdminToken('another long token');
    expect(await find(secret)).to.include({ name: 'Ada' });
    expect(await find('another long token')).to.include({ name: 'admin', role: 'owner' });
    expect((await rejection(create('admin', 'owner'))).code).to.equal('already_exists');
  });

  it('have each a name of its own, which is free again once it is revoked', async () => {
    await create('Ben', 'owner');
    const { token } = await create('Ada', 'auditor');
    expect((await rejection(create('Ada', 'operator'))).code).to.equal('already_exists');
    fixture.control.revokeAdminToken(token.id, ADMIN);
    expect((await create('Ada', 'operator')).secret).to.be.a('string');
  });

  it('are not kept out by 1,000 wrong ones from the same address, which argon2 hardly sees', async () => {
    await fixture.control.setAdminToken(TOKEN);
    const { secret } = await create('Ada', 'operator');
    const codes = new Map<string, number>();
    for (let i = 0; i < 1000; i += 1) {
      const token = i % 2 === 0 ? wrong(i) : wrongSecretOf(secret);
      const answer = await find(token).then(
        () => 'nobody',
        (error: Fault) => error.code,
      );
      codes.set(answer, (codes.get(answer) ?? 0) + 1);
    }
    // Not one in 65,536 of those with the right id gets past the tag.
    expect(hasher.verifications).to.be.below(5);
    expect(codes.get('nobody')).to.be.within(20, 25);
    expect(codes.get('rate_limited')).to.be.above(970);
    const before = hasher.verifications;
    expect(await find(TOKEN)).to.include({ name: 'admin' });
    expect(await find(secret)).to.include({ name: 'Ada' });
    expect(hasher.verifications).to.equal(before + 1);
  });

  it('are not tried any faster from many addresses of one IPv6 network', async () => {
    await fixture.control.setAdminToken(TOKEN);
    const tried = async (addressOf: (n: number) => string) => {
      let answered = 0;
      for (let n = 1; n <= 30; n += 1) {
        await find(wrong(n), addressOf(n)).then(
          () => (answered += 1),
          () => undefined,
        );
      }
      return answered;
    };
    expect(await tried((n) => `2001:db8::${n.toString(16)}`)).to.equal(20);
    expect(await tried((n) => `2001:db8:0:0:${n}::1`)).to.equal(0);
    expect(await tried((n) => `2001:db8:0:1::${n}`)).to.equal(20);
    expect(await tried((n) => `fe80::${n}%eth0`)).to.equal(20);
    expect(await tried((n) => `::ffff:192.0.2.${n}`)).to.equal(30);
    expect(await tried((n) => `192.0.2.${n}`)).to.equal(30);
  });

  it('of earlier releases go on working, and are not kept out either once they were seen', async () => {
    const old = `nba_${'aB3'.repeat(14)}x`;
    await fixture.control.setAdminToken(old);
    fixture.sql('UPDATE admin_tokens SET tag = NULL');
    fixture.reopen();
    expect(await find(old)).to.include({ name: 'admin', role: 'owner' });
    fixture.clock.pass(10 * 60_000);
    hasher.verifications = 0;
    for (let i = 0; i < 100; i += 1) await find(`nba_${String(i).padStart(43, 'x')}`).catch(() => undefined);
    expect(hasher.verifications).to.be.below(3);
    expect(await find(old)).not.to.equal(undefined);
  });

  it('keep no digest of a text that somebody has chosen, by which it could be guessed', async () => {
    await fixture.control.setAdminToken(TOKEN);
    fixture.reopen();
    await find(TOKEN);
    expect(fixture.sql('SELECT tag FROM admin_tokens')).to.deep.equal([{ tag: null }]);
  });

  it('cost one verification in five minutes', async () => {
    const { secret } = await create('Ada', 'owner');
    for (let i = 0; i < 100; i += 1) expect(await find(secret)).to.not.equal(undefined);
    fixture.clock.pass(5 * 60_000 - 1);
    await find(secret);
    expect(hasher.verifications).to.equal(1);
    fixture.clock.pass(2);
    await find(secret);
    expect(hasher.verifications).to.equal(2);
  });

  it('tell when they were last used', async () => {
    const { token, secret } = await create('Ada', 'owner');
    expect(token.lastUsedAt).to.equal(null);
    fixture.clock.pass(1000);
    const at = fixture.clock.now();
    await find(secret);
    expect(fixture.control.listAdminTokens(PAGE).data[0]?.lastUsedAt).to.equal(at);
  });
});

const wrong = (n: number) => `wrong token number ${n}`;
