import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type CliOptions, cli } from '../../support/cli.ts';
import { type Json, startTestServer, type TestServer } from '../../support/http.ts';
import { temporaryFolder } from '../../support/tenants.ts';

const KEY = 'sk-canary-0123456789-abcd';

for (const mode of ['through a server that runs', 'with no server running'] as const) {
  describe(`the command line on who may do what, ${mode}`, () => {
    let folder: ReturnType<typeof temporaryFolder>;
    let server: TestServer | null;
    let env: Record<string, string>;

    beforeEach(async () => {
      folder = temporaryFolder();
      const dataDir = join(folder.path, 'data');
      server = mode === 'with no server running' ? null : await startTestServer({ dataDir });
      env = { DATA_DIR: dataDir, ...(server && { ADMIN_TOKEN: server.adminToken }) };
      await json('tenant', 'create', 'Acme');
    });
    afterEach(async () => {
      await server?.close();
      folder.remove();
    });

    const run = (argv: string[], options: CliOptions = {}) => cli(argv, { env, ...options });
    const json = async (...argv: string[]): Promise<Json> => {
      const result = await run([...argv, '--json']);
      expect(result.code, result.stderr).to.equal(0);
      return result.json;
    };

    it('makes, lists and revokes admin tokens', async () => {
      const made = await json('admin-token', 'create', 'Ada', '--role', 'owner');
      expect(made).to.include({ name: 'Ada', role: 'owner' });
      expect(made.token).to.match(/^nba_/);
      const listed = await run(['admin-token', 'list']);
      expect(listed.stdout).to.include('Ada').and.not.include(String(made.token));
      if (server) {
        await json('admin-token', 'revoke', String(made.id));
        expect(
          (await run(['tenant', 'list'], { env: { ...env, ADMIN_TOKEN: String(made.token) } })).code,
        ).to.equal(6);
      } else {
        // The last one of an owner, where none was stored yet.
        expect((await run(['admin-token', 'revoke', String(made.id)])).code).to.equal(2);
      }
      expect((await run(['admin-token', 'create', 'Bo', '--role', 'root'])).code).to.equal(2);
    });

    it('takes provider keys from standard input only, and rotates the master key', async () => {
      const set = await run(['provider-key', 'set', 'Acme', 'openai', '--json'], { typed: `${KEY}\n` });
      expect([set.code, set.json.last4]).to.deep.equal([0, 'abcd']);
      const listed = await json('provider-key', 'list', 'Acme');
      expect((listed.data as Json[]).map(({ name }) => name)).to.deep.equal(['openai']);
      expect((await run(['provider-key', 'set', 'Acme', 'openai'])).code).to.equal(2);
      expect((await run(['provider-key', 'set', 'Acme', 'nobody'], { typed: KEY })).code).to.equal(3);

      const path = join(folder.path, 'data', 'master.key');
      const before = readFileSync(path, 'utf8');
      expect(await json('master-key', 'rotate')).to.deep.equal({ resealed: 1, dropped: 0 });
      expect(readFileSync(path, 'utf8')).not.to.equal(before);

      await json('provider-key', 'delete', 'Acme', 'openai');
      expect((await run(['provider-key', 'delete', 'Acme', 'openai'])).code).to.equal(3);
    });
  });
}
