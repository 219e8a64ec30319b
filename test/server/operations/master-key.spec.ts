import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { newMasterKey, parseMasterKey } from '../../../control-plane/master-key.ts';
import type { ControlPlane } from '../../../control-plane/types.ts';
import { type MasterKeys, openMasterKeys, type RotationStep } from '../../../server/operations/master-key.ts';
import { ADMIN, createFixture, type Fixture } from '../../control-plane/setup.ts';
import { faultOf } from '../../support/faults.ts';

const KEY = 'sk-canary-0123456789-abcd';
const ROTATE = { dropUnopenable: false };

describe('the master key', () => {
  let fixture: Fixture;
  let warnings: string[];
  let id: string;
  beforeEach(() => {
    fixture = createFixture();
    warnings = [];
    id = fixture.addTenant().tenant.id;
  });
  afterEach(() => fixture.remove());

  interface Given {
    given?: string;
    previous?: string;
    atStep?: (step: RotationStep) => void;
    /** What fails in control.db. */
    broken?: Partial<ControlPlane>;
  }
  /** What a start of the server does. */
  const start = ({ given, previous, atStep, broken = {} }: Given = {}): Promise<MasterKeys> => {
    fixture.reopen();
    return openMasterKeys({
      control: { ...fixture.control, ...broken },
      dataDir: fixture.folder,
      given: parseMasterKey(given ?? ''),
      previous: parseMasterKey(previous ?? ''),
      log: { warn: (_, message) => warnings.push(message) },
      ...(atStep && { atStep }),
    });
  };
  const path = () => join(fixture.folder, 'master.key');
  const keyText = () => readFileSync(path(), 'utf8').trim();
  const put = (tenantId = id) => fixture.control.putProviderKey(tenantId, 'openai', KEY, ADMIN);
  const open = (tenantId = id) => fixture.control.openProviderKey(tenantId, 'openai');
  const keyFiles = () => readdirSync(fixture.folder).filter((name) => name.startsWith('master'));

  it('is made on the first start, for its owner alone, and stays', async () => {
    await start();
    expect(statSync(path()).mode & 0o777).to.equal(0o600);
    expect(parseMasterKey(keyText())).to.have.length(32);
    expect(keyFiles()).to.deep.equal(['master.key']);
    put();
    const before = keyText();
    await start();
    expect(keyText()).to.equal(before);
    expect(open()).to.equal(KEY);
    expect(warnings).to.deep.equal([]);
  });

  it('is not made anew where it is lost and something is sealed with it', async () => {
    await start();
    put();
    const copy = keyText();
    rmSync(path());
    const keys = await start();
    expect(existsSync(path())).to.equal(false);
    expect(await keys.isFileMissing()).to.equal(true);
    expect(warnings).to.have.length(1);
    expect((await faultOf(() => open())).code).to.equal('provider_not_configured');
    expect((await faultOf(() => put())).code).to.equal('provider_not_configured');
    expect((await faultOf(() => keys.rotate(ROTATE, ADMIN))).code).to.equal('provider_not_configured');
    expect(keyFiles()).to.deep.equal([]);

    writeFileSync(path(), `${copy}\n`, { mode: 0o600 });
    await start();
    expect(open()).to.equal(KEY);
  });

  it('is never written over where the file holds something else', async () => {
    await start();
    put();
    writeFileSync(path(), 'not a key');
    await start();
    expect(keyText()).to.equal('not a key');
    expect((await faultOf(() => open())).code).to.equal('provider_not_configured');
  });

  it('is missed also while nothing is sealed with it, and can be made anew', async () => {
    writeFileSync(path(), 'not a key');
    const keys = await start();
    expect(warnings).to.have.length(1);
    expect(await keys.isFileMissing()).to.equal(true);
    expect((await faultOf(() => put())).code).to.equal('provider_not_configured');
    await keys.rotate(ROTATE, ADMIN);
    expect(await keys.isFileMissing()).to.equal(false);
    put();
    await start();
    expect(open()).to.equal(KEY);
  });

  it('can be given up together with what it has sealed', async () => {
    await start();
    put();
    rmSync(path());
    const keys = await start();
    expect(await keys.rotate({ dropUnopenable: true }, ADMIN)).to.deep.equal({ resealed: 0, dropped: 1 });
    const [row] = fixture.control.listAudit({ tenantId: id }, { limit: 1, cursor: null }).data;
    expect(row).to.include({ action: 'provider_key.delete', targetId: 'openai' });
    expect(await keys.isFileMissing()).to.equal(false);
    put();
    await start();
    expect(open()).to.equal(KEY);
  });

  it('is rotated: what was sealed opens with the new one alone', async () => {
    const keys = await start();
    put();
    const before = keyText();
    expect(await keys.rotate(ROTATE, ADMIN)).to.deep.equal({ resealed: 1, dropped: 0 });
    expect(keyText()).not.to.equal(before);
    expect(statSync(path()).mode & 0o777).to.equal(0o600);
    expect(keyFiles()).to.deep.equal(['master.key']);
    expect(open()).to.equal(KEY);
    await start();
    expect(open()).to.equal(KEY);
    await start({ given: before });
    expect((await faultOf(() => open())).code).to.equal('provider_not_configured');
  });

  it('is rotated by many at once, one after the other', async () => {
    const keys = await start();
    put();
    await Promise.all(Array.from({ length: 5 }, () => keys.rotate(ROTATE, ADMIN)));
    await start();
    expect(open()).to.equal(KEY);
  });

  for (const step of ['staged', 'resealed', 'renamed'] as const) {
    for (const count of [0, 3]) {
      it(`loses nothing when its rotation is cut off once it is ${step}, with ${count} keys sealed`, async () => {
        const tenants = Array.from({ length: count }, () => fixture.addTenant().tenant.id);
        const keys = await start({
          atStep: (at) => {
            if (at === step) throw new Error(`cut off: ${at}`);
          },
        });
        for (const tenant of tenants) put(tenant);
        await keys.rotate(ROTATE, ADMIN).then(
          () => expect.fail('should have been cut off'),
          (error: Error) => expect(error.message).to.equal(`cut off: ${step}`),
        );
        const goOn = async () => {
          for (const tenant of tenants) expect(open(tenant)).to.equal(KEY);
        };
        // The process may as well go on, take a new key and try again.
        await goOn();
        put();
        tenants.push(id);
        const again = await start();
        await goOn();
        expect(keyFiles()).to.deep.equal(['master.key']);
        await again.rotate(ROTATE, ADMIN);
        await start();
        await goOn();
        expect(warnings).to.deep.equal([]);
      });
    }
  }

  it('may be tried again in the same process after a rotation that was cut off', async () => {
    let cut = true;
    const keys = await start({
      atStep: (at) => {
        if (cut && at === 'resealed') throw new Error('no space');
      },
    });
    await keys.rotate(ROTATE, ADMIN).catch(() => undefined);
    put();
    cut = false;
    await keys.rotate(ROTATE, ADMIN);
    put();
    await start();
    expect(open()).to.equal(KEY);
    expect(keyFiles()).to.deep.equal(['master.key']);
  });

  it('can be given in the place of the file, and takes over what another one has sealed', async () => {
    const [first, second] = [newMasterKey().encode(), newMasterKey().encode()];
    const keys = await start({ given: first });
    expect(existsSync(path())).to.equal(false);
    put();
    expect((await faultOf(() => keys.rotate(ROTATE, ADMIN))).message).to.include('not valid');
    await start({ given: second });
    expect((await faultOf(() => open())).code).to.equal('provider_not_configured');
    expect(warnings).to.have.length(1);
    await start({ given: second, previous: first });
    expect(open()).to.equal(KEY);
    await start({ given: second });
    expect(open()).to.equal(KEY);
    // And back into the file.
    await start({ previous: second });
    await start();
    expect(open()).to.equal(KEY);
    expect(warnings).to.have.length(1);
  });

  it('is rotated, and a server starts, also where the disk has no room to write control.db anew', async () => {
    const full = () => {
      throw new Error('full');
    };
    const keys = await start({ broken: { compact: full } });
    put();
    expect(await keys.rotate(ROTATE, ADMIN)).to.deep.equal({ resealed: 1, dropped: 0 });
    expect(warnings).to.have.length(1);
    const given = newMasterKey().encode();
    await start({ given, previous: keyText(), broken: { resealProviderKeys: full } });
    expect(warnings).to.have.length(2);
    expect(open()).to.equal(KEY);
    await start({ given, previous: keyText() });
    await start({ given });
    expect(open()).to.equal(KEY);
  });

  it('never stands in the audit', async () => {
    const keys = await start();
    const before = keyText();
    put();
    await keys.rotate(ROTATE, ADMIN);
    const told = JSON.stringify(fixture.sql('SELECT * FROM audit'));
    expect(told).to.include('master_key.rotate').and.not.include(before).and.not.include(keyText());
  });
});
