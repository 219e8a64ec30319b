import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import Koa from 'koa';
import { createForward } from '../../../server/http/forward.ts';
import { createListener } from '../../../server/http/listener.ts';
import type { RequestState } from '../../../server/http/state.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { createIds } from '../../../tenant-schema/ids.ts';
import { temporaryFolder } from '../../support/tenants.ts';

describe('a request that a worker passes on', () => {
  it('is answered also in HTTP/1.0, without a host', async () => {
    const ids = createIds(systemClock);
    const folder = temporaryFolder();
    const socketPath = join(folder.path, 'first.sock');
    const first = createListener(ids, () => '');
    const worker = createListener(ids, () => '');
    try {
      const app = new Koa<RequestState>();
      app.use((ctx) => {
        ctx.body = 'from the first process';
      });
      first.serve(app);
      worker.serve(new Koa<RequestState>(), createForward([], socketPath, ids));
      await once(first.server.listen(socketPath), 'listening');
      await once(worker.server.listen(0, '127.0.0.1'), 'listening');
      const client = connect((worker.server.address() as AddressInfo).port, '127.0.0.1');
      client.write('GET /healthz HTTP/1.0\r\n\r\n');
      expect(await text(client))
        .to.match(/^HTTP\/1\.1 200 /)
        .and.to.match(/from the first process$/);
    } finally {
      for (const { server } of [worker, first]) {
        server.closeAllConnections();
        server.close();
      }
      folder.remove();
    }
  });
});
