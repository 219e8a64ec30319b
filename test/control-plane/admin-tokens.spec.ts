import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { isAdminToken, type TokenHasher } from '../../control-plane/admin-tokens.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { createFixture, type Fixture } from './setup.ts';

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
      expect(made).to.match(/^nba_[0-9A-Za-z]{43}$/);
      if (made === null) return;
      expect(await fixture.control.ensureAdminToken()).to.equal(null);
      const actor = await fixture.control.findAdmin(made, ADDRESS);
      expect(actor).to.include({ name: 'admin', requestId: null });
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

describe('the admin token', () => {
  let hasher: ReturnType<typeof createHasher>;
  let fixture: Fixture;
  beforeEach(() => {
    hasher = createHasher();
    fixture = createFixture(hasher);
  });
  afterEach(() => fixture.remove());

  const find = (token: string, address = ADDRESS) => fixture.control.findAdmin(token, address);
  const wrong = (n: number) => `wrong token number ${n}`;

  it('is nobody while there is none', async () => {
    expect(await find(TOKEN)).to.equal(undefined);
  });

  it('costs one verification in five minutes', async () => {
    await fixture.control.setAdminToken(TOKEN);
    for (let i = 0; i < 100; i += 1) expect(await find(TOKEN)).to.not.equal(undefined);
    fixture.clock.pass(5 * 60_000 - 1);
    await find(TOKEN);
    expect(hasher.verifications).to.equal(1);
    fixture.clock.pass(2);
    await find(TOKEN);
    expect(hasher.verifications).to.equal(2);
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
    await fixture.control.setAdminToken(TOKEN);
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

  it('may be tried 20 times at once from one address, then once a second', async () => {
    await fixture.control.setAdminToken(TOKEN);
    for (let i = 0; i < 20; i += 1) expect(await find(wrong(i))).to.equal(undefined);
    expect(await rejection(find(wrong(20)))).to.deep.include({
      code: 'rate_limited',
      details: { retryAfterSeconds: 1 },
    });
    expect((await rejection(find(TOKEN))).code).to.equal('rate_limited');
    expect(await find(TOKEN, '192.0.2.2')).to.not.equal(undefined);
    // What another address had verified needs no argon2, hence no attempt.
    expect(await find(TOKEN)).to.not.equal(undefined);
    fixture.clock.pass(1000);
    expect(await find(wrong(21))).to.equal(undefined);
    expect((await rejection(find(wrong(22)))).code).to.equal('rate_limited');
    expect(hasher.verifications).to.equal(22);
  });

  it('is verified one at a time, and for the same token only once', async () => {
    await fixture.control.setAdminToken(TOKEN);
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
    await fixture.control.setAdminToken(TOKEN);
    const { gate, open } = createGate();
    hasher.gate = gate;
    const waiting = Array.from({ length: 64 }, (_, i) => find(wrong(i), `192.0.2.${i}`));
    expect((await rejection(find(wrong(64), '198.51.100.1'))).code).to.equal('rate_limited');
    open();
    await Promise.all(waiting);
    expect(await find(TOKEN, '198.51.100.1')).to.not.equal(undefined);
  });

  it('can be verified after a verification that failed', async () => {
    await fixture.control.setAdminToken(TOKEN);
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
