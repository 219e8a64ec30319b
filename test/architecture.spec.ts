import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect } from 'chai';

const ROOT = resolve(import.meta.dirname, '..');

/** From the bottom up: a room may use itself and what stands before it. */
const LAYERS = [
  'tenant-schema',
  'control-plane',
  'server/telemetry',
  'server/providers',
  'server/pricing',
  'server/agent',
  'server/operations',
  'server/endpoints',
  'server/http',
  'server/workers',
  'server',
  'server/cli',
  'server/console',
];

/** Packages that only some rooms, or files, may name. */
const PACKAGE_HOMES: [pattern: RegExp, homes: string[]][] = [
  [/^(koa|@koa\/|koa-)/, ['server/http/']],
  [/^(openai|@anthropic-ai\/|undici)/, ['server/providers/']],
  [/^(better-sqlite3|drizzle-orm)/, ['tenant-schema/sqlite/', 'control-plane/', 'server/data-folder.ts']],
  [/^@pydantic\//, ['server/pricing/']],
  [/^argon2$/, ['control-plane/']],
  [/^commander$/, ['server/cli/']],
  [/^(react|@mantine\/|@tanstack\/|recharts|vite|@vitejs\/|openapi-)/, ['server/console/']],
];

const sourceFiles = ['tenant-schema', 'control-plane', 'server'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !/(?:^|\/)node_modules\/|\.gen\.ts$/.test(name))
    .map((name) => join(folder, name)),
);

/** What runs in a browser. */
const PAGE = 'server/console/src/';

const importsOf = (file: string): string[] =>
  [
    ...readFileSync(join(ROOT, file), 'utf8').matchAll(
      /^(?:import|export)\b[^;]*?\bfrom '([^']+)';$|\bimport\('([^']+)'\)/gm,
    ),
  ].map(([, target, loaded]) => target ?? loaded ?? '');

const layerOf = (file: string): number =>
  // Its files themselves, and not the rooms in its folder.
  LAYERS.findIndex((layer) => (layer === 'server' ? dirname(file) === layer : file.startsWith(`${layer}/`)));

describe('the rooms', () => {
  it('are all known', () => {
    expect(sourceFiles.filter((file) => layerOf(file) === -1)).to.deep.equal([]);
    expect(sourceFiles.flatMap(importsOf).length).to.be.greaterThan(100);
  });

  it('import downwards only', () => {
    const wrong = sourceFiles.flatMap((file) =>
      importsOf(file)
        .filter((target) => target.startsWith('.'))
        .map((target) => relative(ROOT, resolve(ROOT, dirname(file), target)))
        .filter((target) => layerOf(target) === -1 || layerOf(target) > layerOf(file))
        .map((target) => `${file} → ${target}`),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('keep each outside library in the room that knows it', () => {
    const wrong = sourceFiles.flatMap((file) =>
      importsOf(file)
        .filter((target) =>
          PACKAGE_HOMES.some(
            ([pattern, homes]) => pattern.test(target) && !homes.some((home) => file.startsWith(home)),
          ),
        )
        .map((target) => `${file} → ${target}`),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('give the page nothing of the server but its API', () => {
    const page = sourceFiles.filter((file) => file.startsWith(PAGE));
    expect(page).to.not.be.empty;
    const wrong = page.flatMap((file) =>
      importsOf(file)
        .filter((target) => target.startsWith('.'))
        .filter((target) => !join(dirname(file), target).startsWith(PAGE))
        .map((target) => `${file} → ${target}`),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('read the environment in one file and the clock in one other', () => {
    const readers = (pattern: RegExp) =>
      sourceFiles.filter((file) => pattern.test(readFileSync(join(ROOT, file), 'utf8')));
    // The page has none, but shows code that does.
    const environment = readers(/process\.env\b/).filter((file) => !file.startsWith(PAGE));
    expect(environment).to.deep.equal(['server/config.ts']);
    expect(readers(/\bDate\.now\(|\bperformance\.now\(|\bnew Date\(\)/)).to.deep.equal([
      'tenant-schema/clock.ts',
      'server/console/src/shared/clock.ts',
    ]);
  });
});
