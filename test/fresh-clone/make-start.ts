import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { type ServerProcess, startServerProcess } from '../support/process.ts';
import { temporaryFolder } from '../support/tenants.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What a stranger does: clone, `make start`, paste the line that it prints. Installs for real, hence outside `make test`. */
describe('a fresh clone', () => {
  const folder = temporaryFolder();
  const clone = join(folder.path, 'clone');
  const started: ServerProcess[] = [];
  after(async () => {
    for (const server of started) await server.end('SIGKILL');
    folder.remove();
  });

  it('serves a first reply after "make start" and the printed line, under NODE_ENV=production too', async () => {
    execFileSync('git', ['clone', '--quiet', ROOT, clone]);
    // PORT 0 so that the test never meets another server; a stranger gets 8080.
    const start = () =>
      startServerProcess({
        command: ['make', 'start'],
        cwd: clone,
        group: true,
        env: { PORT: '0', NODE_ENV: 'production', npm_config_cache: join(folder.path, 'npm-cache') },
      });
    const first = await start();
    started.push(first);
    const line = first.output().match(/^curl .*$/m)?.[0] ?? '';
    const reply: unknown = JSON.parse(execFileSync('sh', ['-c', line], { encoding: 'utf8' }));
    expect(reply).to.have.property('response').that.includes('Hello');
    expect(first.output()).to.match(/^Admin token .*: nba_\w{43,}$/m);
    await first.end('SIGINT');
    expect(
      readdirSync(join(clone, 'data'), { recursive: true }).filter((name) => String(name).includes('-wal')),
    ).to.deep.equal([]);

    const second = await start();
    started.push(second);
    expect(second.output()).not.to.match(/nbs_|nba_|npm|curl/);
    await second.end('SIGTERM');
  });
});
