import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { startTestServer, type TestServer } from '../../support/http.ts';

const INDEX = '<!doctype html><meta name="csp-nonce" content="__CSP_NONCE__"><p>The page</p>';
const SCRIPT = `console.log('${'a'.repeat(4000)}');`;
const FONT = randomBytes(2000);

interface Answer {
  status: number | undefined;
  headers: IncomingMessage['headers'];
  bytes: Buffer;
}

describe("the console's page", () => {
  let server: TestServer;
  let folder: string;
  let consoleDir: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'console-'));
    consoleDir = join(folder, 'built');
    mkdirSync(join(consoleDir, 'assets'), { recursive: true });
    writeFileSync(join(folder, 'secret.txt'), 'SECRET');
    writeFileSync(join(consoleDir, 'index.html'), INDEX);
    writeFileSync(join(consoleDir, 'icon.svg'), '<svg/>');
    writeFileSync(join(consoleDir, 'assets', 'index-abc.js'), SCRIPT);
    writeFileSync(join(consoleDir, 'assets', 'font-abc.woff2'), FONT);
    server = await startTestServer({ config: { consoleDir } });
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  /** The path as it is, the body as it comes. */
  const ask = (path: string, headers: Record<string, string> = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(server.url);
      get({ hostname, port, path, headers, agent: false }, (response) => {
        const pieces: Buffer[] = [];
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.once('error', reject);
        response.once('end', () =>
          resolve({ status: response.statusCode, headers: response.headers, bytes: Buffer.concat(pieces) }),
        );
      }).once('error', reject);
    });

  it('is the same at every address inside it, and never kept without asking', async () => {
    for (const path of ['/console', '/console/', '/console/tenants/018f?tab=keys', '/console/a/b/c.d']) {
      const { status, headers, bytes } = await ask(path);
      expect([status, headers['content-type']], path).to.deep.equal([200, 'text/html; charset=utf-8']);
      expect(headers['cache-control']).to.equal('no-cache');
      expect(bytes.toString()).to.include('<p>The page</p>');
    }
  });

  it('allows scripts from its own files only, and styles by a number that no two answers share', async () => {
    const nonces = await Promise.all(
      [1, 2].map(async () => {
        const { headers, bytes } = await ask('/console');
        const [, nonce = ''] = /content="([^"]*)"/.exec(bytes.toString()) ?? [];
        expect(nonce).to.match(/^[A-Za-z0-9+/]{22}==$/);
        expect(String(headers['content-security-policy']).split('; ')).to.have.members([
          "default-src 'none'",
          "script-src 'self'",
          `style-src 'self' 'nonce-${nonce}'`,
          "img-src 'self' data:",
          "connect-src 'self'",
          "font-src 'self'",
          "base-uri 'none'",
          "form-action 'self'",
          "frame-ancestors 'none'",
        ]);
        return nonce;
      }),
    );
    expect(new Set(nonces).size).to.equal(2);
  });

  it('has assets that may be kept for ever, compressed as the browser takes them', async () => {
    const path = '/console/assets/index-abc.js';
    for (const [accepted, encoding, open] of [
      ['gzip, deflate, br', 'br', brotliDecompressSync],
      ['gzip', 'gzip', gunzipSync],
      ['identity', undefined, (bytes: Buffer) => bytes],
    ] as const) {
      const { status, headers, bytes } = await ask(path, { 'Accept-Encoding': accepted });
      expect([status, headers['content-encoding']]).to.deep.equal([200, encoding]);
      expect(headers['content-type']).to.equal('text/javascript; charset=utf-8');
      expect(headers['cache-control']).to.equal('public, max-age=31536000, immutable');
      expect([headers.vary, headers['x-content-type-options']]).to.deep.equal(['Accept-Encoding', 'nosniff']);
      expect(open(bytes).toString()).to.equal(SCRIPT);
    }
    const font = await ask('/console/assets/font-abc.woff2', { 'Accept-Encoding': 'br' });
    expect(font.headers).to.include({ 'content-type': 'font/woff2' }).and.not.to.have.key('content-encoding');
    expect(font.bytes.equals(FONT)).to.equal(true);
  });

  it('sends its other files again only where they have changed', async () => {
    const { status, headers, bytes } = await ask('/console/icon.svg');
    expect([status, headers['content-type'], bytes.toString()]).to.deep.equal([
      200,
      'image/svg+xml',
      '<svg/>',
    ]);
    expect(headers['cache-control']).to.equal('no-cache');
    const again = await ask('/console/icon.svg', { 'If-None-Match': headers.etag ?? '' });
    expect([again.status, again.bytes.length]).to.deep.equal([304, 0]);
  });

  it('has no page in the place of an asset that is not there', async () => {
    const { status, headers, bytes } = await ask('/console/assets/index-old.js');
    expect([status, headers['content-type']]).to.deep.equal([404, 'application/problem+json']);
    expect(bytes.toString()).to.include('route_not_found');
  });

  it('gives nothing from outside its folder', async () => {
    const ways = ['../', '..%2f', '%2e%2e/', '%2e%2e%2f', '..\\', '..%5c', '%252e%252e%252f', '..%00/'];
    for (const up of ways) {
      for (const path of [`/console/${up}secret.txt`, `/console/assets/${up}${up}secret.txt`]) {
        const { bytes } = await ask(path);
        expect(bytes.toString(), path).not.to.include('SECRET');
      }
    }
    expect((await ask(`/console/${join(folder, 'secret.txt')}`)).bytes.toString()).not.to.include('SECRET');
  });

  it('is where a person lands who opens the server in a browser', async () => {
    const browser = await ask('/', { Accept: 'text/html,application/xhtml+xml,*/*;q=0.8' });
    expect([browser.status, browser.headers.location]).to.deep.equal([302, '/console']);
    for (const accept of ['*/*', 'application/json']) {
      expect((await ask('/', { Accept: accept })).status).to.equal(404);
    }
  });

  it('leaves its session to the API, and the other methods to nobody', async () => {
    expect((await ask('/console/session')).status).to.equal(401);
    const { status, body } = await server.fetch('/console/tenants', { method: 'POST' });
    expect([status, body.code]).to.deep.equal([405, 'method_not_allowed']);
  });

  it('says how to build it where it was not, until it was', async () => {
    const away = join(folder, 'away');
    const other = await startTestServer({ config: { consoleDir: away } });
    try {
      const before = await fetch(`${other.url}/console`);
      expect(before.status).to.equal(503);
      expect(await before.text()).to.include('make build');
      renameSync(consoleDir, away);
      expect((await other.fetch('/console')).text).to.include('<p>The page</p>');
    } finally {
      renameSync(away, consoleDir);
      await other.stop();
    }
  });
});
