import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { loadConfig } from '../../server/config.ts';
import {
  request,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  type TestTenant,
} from '../support/http.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';
import { launchChromium } from './chromium.ts';
import { watchFaults } from './faults.ts';

/** A browser takes its time on a machine that does other things too. */
export const BROWSER_TIMEOUT_MS = 60_000;
const STEP_TIMEOUT_MS = 15_000;

/** The credentials of a sign-in. */
export type Secret = { admin_token: string } | { api_key: string };

export interface VisitOptions extends BrowserContextOptions {
  /** Who is signed in; by default nobody. */
  as?: Secret;
  /** Where the console is; by default on the world's server. */
  origin?: string;
  /** Faults that the test causes on purpose. Each must happen. */
  faults?: RegExp[];
}

export interface ConsoleWorld {
  readonly server: TestServer;
  readonly upstream: Upstream;
  /** Signs in as the operator. */
  operator(): Secret;
  /** A tenant, and how it signs in. */
  tenant(name?: string): Promise<TestTenant & { secret: Secret }>;
  /** A config that asks the scripted upstream; gives its id. */
  config(tenant: TestTenant, content?: Record<string, unknown>): Promise<string>;
  /**
   * Opens a page of the console, `/tenants` say, in a browser of its own. Fails with the script's error, and with
   * whatever the page did that it should not: a console error, an exception, a request that failed, went elsewhere or
   * was refused, a breach of the page's policy.
   */
  visit(path: string, options: VisitOptions, script: (page: Page) => Promise<void>): Promise<void>;
  /** The server ends; what is open in the browser stays. */
  stopServer(): Promise<void>;
  /** The server is there again, at the same address, over the same folder. */
  startServer(): Promise<void>;
}

/** The real server with the built page, a scripted upstream and a browser, for the suite that calls it. */
export function createWorld(options: TestServerOptions = {}): ConsoleWorld {
  let browser: Browser;
  let server: TestServer;
  let upstream: Upstream;

  const start = (more: TestServerOptions = {}): Promise<TestServer> =>
    startTestServer({
      // Browser and server share the machine's cores here.
      overloaded: () => false,
      ...options,
      ...more,
      env: {
        OPENAI_API_KEY: 'sk-test',
        OPENAI_BASE_URL: upstream.openaiUrl,
        ...options.env,
        ...more.env,
      },
    });

  before(async function () {
    this.timeout(BROWSER_TIMEOUT_MS);
    const { consoleDir } = loadConfig({});
    expect(existsSync(join(consoleDir, 'index.html')), 'the console is built; "make build" does it').to.equal(
      true,
    );
    upstream = await startUpstream();
    server = await start();
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    await upstream?.close();
  });

  return {
    get server() {
      return server;
    },
    get upstream() {
      return upstream;
    },
    operator: () => ({ admin_token: server.adminToken }),
    async tenant(name = 'Acme') {
      const tenant = await server.createTenant({ name });
      return { ...tenant, secret: { api_key: tenant.apiKey } };
    },
    config: (tenant, content = {}) =>
      server.createConfig(tenant.client, {
        model_config: { provider: 'openai', model: 'gpt-4.1-mini' },
        ...content,
      }),
    async visit(path, { as, origin = server.url, faults = [], ...context }, script) {
      const place = await browser.newContext({
        baseURL: origin,
        locale: 'en-GB',
        timezoneId: 'Europe/Berlin',
        reducedMotion: 'reduce',
        ...context,
      });
      try {
        place.setDefaultTimeout(STEP_TIMEOUT_MS);
        const page = await place.newPage();
        const watch = watchFaults(page, origin, faults);
        if (as !== undefined) {
          const reply = await request(`${origin}/console/session`, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify(as),
          });
          expect(reply.status, reply.text).to.equal(201);
          const [pair = ''] = reply.headers.getSetCookie()[0]?.split(';') ?? [];
          const [name = '', value = ''] = pair.split('=');
          await place.addCookies([{ name, value, url: origin, httpOnly: true, sameSite: 'Strict' }]);
          // What the page notes for itself when somebody signs in.
          await place.addInitScript("localStorage.setItem('nimblesite-signed-in', '1')");
        }
        await page.goto(`/console${path}`);
        await script(page).catch((error: unknown) => watch.explain(error));
        watch.check();
      } finally {
        await place.close();
      }
    },
    stopServer: () => server.close(),
    async startServer() {
      const { port } = new URL(server.url);
      server = await start({ dataDir: server.dataDir, env: { PORT: port } });
    },
  };
}

/** Waits until it is there. */
export const shown = (place: Locator): Promise<void> => place.waitFor({ state: 'visible' });
/** Waits until it is gone. */
export const gone = (place: Locator): Promise<void> => place.waitFor({ state: 'hidden' });

/** Types a secret into the sign-in and sends it. */
export async function signIn(page: Page, secret: string): Promise<void> {
  await page.getByLabel('Admin token or API key').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** The secret in the dialog that shows it once; closes the dialog. */
export async function takeSecret(page: Page): Promise<string> {
  const secret = await page.getByTestId('secret').innerText();
  await page.getByRole('button', { name: 'I have kept it' }).click();
  await gone(page.getByTestId('secret'));
  return secret;
}
