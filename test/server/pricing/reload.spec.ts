import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type ServerProcess, startProcess, startServerProcess } from '../../support/process.ts';

describe('PRICES_FILE of a server', () => {
  let folder: string;
  let file: string;
  let env: Record<string, string>;
  let server: ServerProcess | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nimblesite-prices-'));
    file = join(folder, 'prices.json');
    env = { PORT: '0', DATA_DIR: join(folder, 'data'), PRICES_FILE: file, ADMIN_TOKEN: 'x'.repeat(16) };
    server = undefined;
  });
  afterEach(async () => {
    await server?.end('SIGKILL');
    rmSync(folder, { recursive: true });
  });

  it('ends the start with one line and code 2 where it cannot be used, before the folder is touched', async () => {
    writeFileSync(file, '{"openai": {"gpt-x": {"input": "1", "output": 1}}}');
    const { child, output } = startProcess({ env });
    const [code] = await once(child, 'close');
    expect(code).to.equal(2);
    expect(output()).to.equal(
      'PRICES_FILE must be a file of prices: openai.gpt-x.input must be a number of US dollars per million tokens\n',
    );
    expect(existsSync(join(folder, 'data'))).to.equal(false);
  });

  it('is read again on SIGHUP, and the server goes on where it cannot be used any more', async () => {
    writeFileSync(file, '{}');
    server = await startServerProcess({ env });
    const { child, output } = server;
    const said = async (words: string): Promise<void> => {
      while (!output().includes(words) && child.exitCode === null && child.stderr)
        await once(child.stderr, 'data');
    };
    writeFileSync(file, '{"openai": {"x": {"input": 1, "output": 1}}}');
    child.kill('SIGHUP');
    await said('the prices were read again');
    writeFileSync(file, 'no JSON');
    child.kill('SIGHUP');
    await said('the old prices stay');
    expect((await fetch(`${server.url}/healthz`)).status).to.equal(200);
    expect(await server.end('SIGTERM')).to.equal(0);
  });
});
