import { resolve } from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const ROOT = import.meta.dirname;
const SERVER = 'http://127.0.0.1:8080';

/** The page is static files under /console/; in development Vite serves it before a server on the usual port. */
export default defineConfig({
  root: ROOT,
  base: '/console/',
  plugins: [react()],
  build: {
    outDir: resolve(ROOT, '../../dist/console'),
    emptyOutDir: true,
    // Nothing as a data: address, so that the page's policy can stay narrow.
    assetsInlineLimit: 0,
    target: 'es2022',
    reportCompressedSize: false,
    // Before compression; the page's first load has a budget of its own, compressed.
    chunkSizeWarningLimit: 800,
  },
  server: { proxy: { '/api': SERVER, '/console/session': SERVER } },
});
