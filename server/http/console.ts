import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip, constants as zlib } from 'node:zlib';
import { Fault } from '../../tenant-schema/fault.ts';
import type { PlainRoute } from './router.ts';
import type { RequestContext } from './state.ts';

/** Stands in the built page where the number of this answer's policy goes. */
const NONCE_PLACE = '__CSP_NONCE__';
const NONCE_BYTES = 16;

/** What is text. Images and fonts are small already. */
const COMPRESSIBLE = new Set(['.css', '.html', '.js', '.json', '.map', '.svg', '.txt', '.webmanifest']);
/** Below it, the headers outweigh what is saved. */
const COMPRESSED_BYTES_MIN = 1024;
/** Of 11: the highest takes ten times as long for a few per cent. */
const BROTLI_QUALITY = 9;

const NOT_BUILT = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Nimblesite console</title>
<h1>The console is not built</h1>
<p>Run <code>make build</code>, then load this page again. The API is not concerned; see <a href="/docs">/docs</a>.</p>
</html>
`;

/** Styles by a number that changes with each answer, since components add some at run time; scripts from files only. */
const policyWith = (nonce: string): string =>
  [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "font-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; ');

type Encoding = 'br' | 'gzip' | 'identity';

interface PageFile {
  type: string;
  etag: string;
  /** The bytes in this encoding; compressed when they are first asked for, off the event loop. */
  in(encoding: Encoding): Promise<Buffer>;
  /** Those that it comes in, the smallest first. */
  encodings: Encoding[];
}

interface Page {
  index: string;
  /** Everything but the index, by its path. */
  files: ReadonlyMap<string, PageFile>;
}

const compress = { br: promisify(brotliCompress), gzip: promisify(gzip) };

function pageFile(path: string, bytes: Buffer): PageFile {
  const extension = extname(path);
  const isCompressed = COMPRESSIBLE.has(extension) && bytes.length >= COMPRESSED_BYTES_MIN;
  const compressed = new Map<Encoding, Promise<Buffer>>();
  const make = (encoding: 'br' | 'gzip'): Promise<Buffer> =>
    encoding === 'gzip'
      ? compress.gzip(bytes)
      : compress.br(bytes, { params: { [zlib.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY } });
  return {
    type: extension,
    etag: `W/"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"`,
    encodings: isCompressed ? ['br', 'gzip', 'identity'] : ['identity'],
    async in(encoding) {
      if (encoding === 'identity') return bytes;
      const made = compressed.get(encoding) ?? make(encoding);
      compressed.set(encoding, made);
      return made;
    },
  };
}

/**
 * Reads the built page whole, some megabytes: what is asked for is looked up by name and never on the disk, and a build
 * beside a server that runs does not mix the old with the new. Null where there is none.
 */
async function readPage(folder: string): Promise<Page | null> {
  const index = await readFile(join(folder, 'index.html'), 'utf8').catch(() => null);
  if (index === null) return null;
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path !== join(folder, 'index.html'));
  const files = await Promise.all(
    paths.map(async (path): Promise<[string, PageFile]> => {
      const name = relative(folder, path).split(sep).join('/');
      return [name, pageFile(name, await readFile(path))];
    }),
  );
  return { index, files: new Map(files) };
}

async function sendFile(ctx: RequestContext, file: PageFile, caching: string): Promise<void> {
  const encoding = file.encodings.find((known) => ctx.acceptsEncodings(known) === known) ?? 'identity';
  ctx.status = 200;
  ctx.type = file.type;
  ctx.set({ 'Cache-Control': caching, ETag: file.etag, Vary: 'Accept-Encoding' });
  if (ctx.fresh) {
    ctx.status = 304;
    return;
  }
  if (encoding !== 'identity') ctx.set('Content-Encoding', encoding);
  ctx.body = await file.in(encoding);
}

function sendIndex(ctx: RequestContext, index: string): void {
  const nonce = randomBytes(NONCE_BYTES).toString('base64');
  ctx.set({
    'Content-Security-Policy': policyWith(nonce),
    'Cache-Control': 'no-cache',
    // Without one, browsers would send the origin "null" with a form of the page's own.
    'Referrer-Policy': 'same-origin',
  });
  ctx.type = 'html';
  ctx.body = index.replaceAll(NONCE_PLACE, nonce);
}

function sendNotBuilt(ctx: RequestContext): void {
  ctx.status = 503;
  ctx.type = 'html';
  ctx.body = NOT_BUILT;
}

/**
 * The console's page, as it was built to `folder`, which is read when somebody asks for it first. Names of assets have
 * a hash in them and may be kept for ever; whatever is no file is an address inside the page.
 */
export function consoleRoutes(folder: string): PlainRoute[] {
  let page: Promise<Page | null> | null = null;
  const built = async (): Promise<Page | null> => {
    page ??= readPage(folder);
    const found = await page.catch(() => null);
    // It may be there the next time.
    if (found === null) page = null;
    return found;
  };

  const index: PlainRoute['handle'] = async (ctx) => {
    const page = await built();
    if (page) sendIndex(ctx, page.index);
    else sendNotBuilt(ctx);
  };
  return [
    {
      path: '/',
      handle(ctx) {
        // A person in a browser; everything else asks for what is not there.
        if (ctx.accepts('json', 'html') !== 'html') {
          throw new Fault('route_not_found', 'There is no such route.');
        }
        ctx.redirect('/console');
      },
    },
    { path: '/console', handle: index },
    {
      path: '/console/assets/{*name}',
      async handle(ctx, { name = '' }) {
        const file = (await built())?.files.get(`assets/${name}`);
        // No page in the place of a script: after a new build, an old page must see that its parts are gone.
        if (!file) throw new Fault('route_not_found', 'There is no such file.');
        await sendFile(ctx, file, 'public, max-age=31536000, immutable');
      },
    },
    {
      path: '/console/{*path}',
      async handle(ctx, params) {
        const file = (await built())?.files.get(params.path ?? '');
        if (file) await sendFile(ctx, file, 'no-cache');
        else await index(ctx, params);
      },
    },
  ];
}
