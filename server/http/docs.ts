import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Fault } from '../../tenant-schema/fault.ts';
import type { PlainRoute } from './router.ts';

// Everything from this server: the page works where there is no internet.
const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nimblesite API</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/init.js"></script>
</body>
</html>
`;

const INIT = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#api', validatorUrl: null, deepLinking: true });
`;

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  // The page's own components set style attributes.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

const ASSETS: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

/** The API's description and the page that shows it. */
export function docsRoutes(openApi: string): PlainRoute[] {
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  return [
    {
      path: '/openapi.json',
      handle(ctx) {
        ctx.body = openApi;
        ctx.type = 'application/json';
      },
    },
    {
      path: '/docs',
      handle(ctx) {
        ctx.set('Content-Security-Policy', POLICY);
        ctx.body = PAGE;
        ctx.type = 'text/html; charset=utf-8';
      },
    },
    {
      path: '/docs/assets/:name',
      async handle(ctx, { name = '' }) {
        const type = Object.hasOwn(ASSETS, name) ? ASSETS[name] : undefined;
        if (type === undefined && name !== 'init.js') {
          throw new Fault('route_not_found', 'There is no such route.');
        }
        ctx.body = type === undefined ? INIT : await readFile(join(folder, name));
        ctx.type = type ?? 'text/javascript; charset=utf-8';
        ctx.set('Cache-Control', 'public, max-age=3600');
      },
    },
  ];
}
