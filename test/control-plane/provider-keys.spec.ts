import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { createMasterKey, newMasterKey, parseMasterKey } from '../../control-plane/master-key.ts';
import { ADMIN, createFixture, type Fixture, faultOf } from './setup.ts';

const KEY = 'sk-canary-0123456789-abcd';
const PAGE = { limit: 20, cursor: null };

describe('a master key', () => {
  const owner = { tenantId: 't', provider: 'openai' };

  it('opens what it has sealed for the same tenant and provider, and for nobody else', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), fc.string(), (secret, tenantId, provider) => {
        const key = newMasterKey();
        const sealed = key.seal({ tenantId, provider }, secret);
        expect(key.open({ tenantId, provider }, sealed)).to.equal(Buffer.from(secret).toString());
        expect(key.open({ tenantId: `${tenantId}x`, provider }, sealed)).to.equal(null);
        expect(key.open({ tenantId, provider: `${provider}x` }, sealed)).to.equal(null);
        if (tenantId !== provider) {
          expect(key.open({ tenantId: provider, provider: tenantId }, sealed)).to.equal(null);
        }
        expect(newMasterKey().open({ tenantId, provider }, sealed)).to.equal(null);
      }),
    );
  });

  it('opens nothing in which a bit was changed, or that was cut', () => {
    const key = newMasterKey();
    const sealed = key.seal(owner, KEY);
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8((changed[at] ?? 0) ^ 1, at);
      expect(key.open(owner, changed)).to.equal(null);
      expect(key.open(owner, sealed.subarray(0, at))).to.equal(null);
    }
  });

  it('seals the same secret differently each time, and shows nothing of it or of itself', () => {
    const bytes = Buffer.alloc(32, 7);
    const key = createMasterKey(bytes);
    const sealings = new Set(Array.from({ length: 100 }, () => key.seal(owner, KEY).toString('hex')));
    expect(sealings.size).to.equal(100);
    expect([...sealings].some((text) => text.includes(Buffer.from('canary').toString('hex')))).to.equal(
      false,
    );
    expect(JSON.stringify(key)).not.to.include(bytes.toString('base64')).and.not.to.include('7,7');
  });

  it('comes back from its text, in base64 and in hexadecimal', () => {
    const bytes = Buffer.from(Array.from({ length: 32 }, (_, i) => i * 7));
    const key = createMasterKey(bytes);
    for (const text of [key.encode(), bytes.toString('hex'), bytes.toString('hex').toUpperCase()]) {
      expect(parseMasterKey(text)?.equals(bytes), text).to.equal(true);
    }
    for (const text of ['', 'x', bytes.toString('hex').slice(1), `${key.encode()}=`, 'ä'.repeat(43)]) {
      expect(parseMasterKey(text), text).to.equal(null);
    }
  });
});

describe('provider keys', () => {
  let fixture: Fixture;
  let id: string;
  beforeEach(() => {
    fixture = createFixture();
    fixture.control.unlockProviderKeys(newMasterKey());
    id = fixture.addTenant().tenant.id;
  });
  afterEach(() => fixture.remove());

  const put = (provider: string, apiKey = KEY, tenantId = id) =>
    fixture.control.putProviderKey(tenantId, provider, apiKey, ADMIN);
  const open = (provider: string, tenantId = id) => fixture.control.openProviderKey(tenantId, provider);
  const names = () => fixture.control.listProviderKeys(id, PAGE).data.map(({ name }) => name);

  it('are kept, replaced, listed with no more than four characters, and removed', () => {
    expect(open('openai')).to.equal(null);
    const now = fixture.clock.now();
    expect(put('openai')).to.deep.equal({ name: 'openai', last4: 'abcd', updatedAt: now });
    fixture.clock.pass(1000);
    put('anthropic', 'sk-ant-another-one');
    expect(names()).to.deep.equal(['anthropic', 'openai']);
    fixture.clock.pass(1000);
    put('openai', `${KEY}-2`);
    expect(names()).to.deep.equal(['openai', 'anthropic']);
    expect(open('openai')).to.equal(`${KEY}-2`);
    expect(fixture.control.getProviderKey(id, 'openai').updatedAt).to.equal(now + 2000);
    const page = fixture.control.listProviderKeys(id, { limit: 1, cursor: null });
    const rest = fixture.control.listProviderKeys(id, { limit: 1, cursor: page.nextCursor });
    expect([...page.data, ...rest.data].map(({ name }) => name)).to.deep.equal(names());
    expect(rest.nextCursor).to.equal(null);

    fixture.control.deleteProviderKey(id, 'openai', ADMIN);
    expect(open('openai')).to.equal(null);
    for (const gone of [
      () => fixture.control.deleteProviderKey(id, 'openai', ADMIN),
      () => fixture.control.getProviderKey(id, 'openai'),
      () => put('openai', KEY, fixture.ids()),
    ]) {
      expect(faultOf(gone).code).to.equal('not_found');
    }
    expect(fixture.sql("SELECT action, target_id FROM audit WHERE action LIKE 'provider%'")).to.deep.equal([
      { action: 'provider_key.put', target_id: 'openai' },
      { action: 'provider_key.put', target_id: 'anthropic' },
      { action: 'provider_key.put', target_id: 'openai' },
      { action: 'provider_key.delete', target_id: 'openai' },
    ]);
  });

  it('show nothing of a key with fewer than eight characters', () => {
    expect(put('openai', 'sk-1234').last4).to.equal('');
    expect(put('openai', 'sk-12345').last4).to.equal('2345');
  });

  it('stand in no file as they are', () => {
    put('openai');
    fixture.control.close();
    for (const name of readdirSync(fixture.folder)) {
      const bytes = readFileSync(join(fixture.folder, name));
      for (const text of [KEY, 'canary', Buffer.from(KEY).toString('base64').slice(0, 20)]) {
        expect(bytes.includes(text), name).to.equal(false);
      }
    }
    fixture.reopen();
  });

  it('do not open in the row of another tenant or provider', () => {
    const other = fixture.addTenant().tenant.id;
    put('openai');
    put('openai', 'sk-of-the-other-tenant', other);
    fixture.sql(
      'UPDATE provider_keys SET sealed = (SELECT sealed FROM provider_keys WHERE tenant_id = ?) WHERE tenant_id = ?',
      id,
      other,
    );
    expect(faultOf(() => open('openai', other)).code).to.equal('provider_not_configured');
    fixture.sql("UPDATE provider_keys SET provider = 'groq' WHERE tenant_id = ?", id);
    expect(faultOf(() => open('groq')).code).to.equal('provider_not_configured');
  });

  it('say what to do where no master key opens them, and can be put again', async () => {
    put('openai');
    fixture.reopen();
    expect(faultOf(() => open('openai')).message).to.include('PUT /api/v1/providers/openai');
    expect(faultOf(() => put('groq')).message).to.include('master key');
    fixture.control.unlockProviderKeys(newMasterKey());
    expect(faultOf(() => open('openai')).code).to.equal('provider_not_configured');
    expect(await fixture.control.checkProviderKeys()).to.deep.equal({
      sealed: 1,
      unopenable: 1,
      tenantIds: [id],
    });
    put('openai', 'sk-put-once-more');
    expect(open('openai')).to.equal('sk-put-once-more');
  });

  it('wait in the trash with their tenant, come back with it, and end with a purge', () => {
    put('openai');
    fixture.control.deleteTenant(id, ADMIN);
    expect(faultOf(() => put('openai')).code).to.equal('not_found');
    fixture.control.undeleteTenant(id, ADMIN);
    expect(open('openai')).to.equal(KEY);
    fixture.control.beginPurge(id, ADMIN);
    fixture.control.forgetTenant(id);
    expect(fixture.control.countProviderKeys()).to.equal(0);
  });

  it('are not in a copy of control.db that is made without their tenant', async () => {
    put('openai');
    const { id: kept } = fixture.addTenant().tenant;
    put('openai', 'sk-of-a-tenant-that-stays', kept);
    const whole = join(fixture.folder, 'copy.db');
    const without = join(fixture.folder, 'without.db');
    await fixture.control.snapshot(whole);
    await fixture.control.copyWithout([id], async (copy) => {
      expect((await copy(whole, without)).rows.provider_keys).to.equal(1);
    });
  });

  it('can all be sealed anew, all of them or none', () => {
    const first = newMasterKey();
    fixture.control.unlockProviderKeys(first);
    const rows = Array.from({ length: 700 }, (_, i) => ({
      provider: `p${i}`,
      sealed: first.seal({ tenantId: id, provider: `p${i}` }, `sk-number-${i}`).toString('hex'),
    }));
    fixture.sql(
      `INSERT INTO provider_keys (tenant_id, provider, sealed, master_key_id, last4, updated_at)
        SELECT ?, value ->> 'provider', unhex(value ->> 'sealed'), ?, '', 0 FROM json_each(?)`,
      id,
      first.id,
      JSON.stringify(rows),
    );
    const next = newMasterKey();
    expect(fixture.control.resealProviderKeys(next, 'refuse', ADMIN)).to.deep.equal({
      resealed: 700,
      dropped: 0,
    });
    fixture.control.unlockProviderKeys(next);
    expect(open('p699')).to.equal('sk-number-699');
    expect(fixture.control.countProviderKeys(next.id)).to.equal(700);

    fixture.sql("UPDATE provider_keys SET sealed = x'00' WHERE provider = 'p500'");
    const third = newMasterKey();
    const refused = faultOf(() => fixture.control.resealProviderKeys(third, 'refuse', ADMIN));
    expect(refused.code).to.equal('provider_not_configured');
    expect(fixture.control.countProviderKeys(third.id)).to.equal(0);
    expect(fixture.control.resealProviderKeys(third, 'keep', ADMIN).resealed).to.equal(699);
    fixture.control.unlockProviderKeys(third);
    expect(fixture.control.resealProviderKeys(third, 'drop', ADMIN)).to.deep.equal({
      resealed: 0,
      dropped: 1,
    });
    expect(fixture.control.countProviderKeys()).to.equal(699);
  });
});
