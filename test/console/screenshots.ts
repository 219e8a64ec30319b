import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Page } from 'playwright-core';
import { OPERATOR_PAGES, SIGN_IN, settled, TENANT_PAGES } from './pages.ts';
import { createPastClock, type Seeded, seed } from './seed.ts';
import { createWorld } from './support.ts';

const FOLDER = resolve(import.meta.dirname, '../../docs/img');
const VIEWPORT = { width: 1280, height: 800 };

/** As WebP, a third of a PNG; playwright itself knows only larger kinds. */
async function pictureOf(page: Page): Promise<Buffer> {
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 85 });
  return Buffer.from(data, 'base64');
}

/** `make screenshots`: a picture of every page, light and dark, for the documents. */
describe('pictures of the console', () => {
  const clock = createPastClock();
  const world = createWorld({ clock });
  let seeded: Seeded;

  before(async () => {
    await mkdir(FOLDER, { recursive: true });
    seeded = await seed(world, clock);
  });

  const groups = [
    [[SIGN_IN], () => undefined],
    [TENANT_PAGES, () => ({ api_key: seeded.tenant.apiKey })],
    [OPERATOR_PAGES, () => world.operator()],
  ] as const;
  for (const [pages, as] of groups) {
    for (const { name, path, open } of pages) {
      for (const colorScheme of ['light', 'dark'] as const) {
        it(`${name}, ${colorScheme}`, async () => {
          const who = as();
          const options = { viewport: VIEWPORT, colorScheme, ...(who && { as: who }) };
          await world.visit(path(seeded), options, async (page) => {
            await settled(page);
            await open?.(page);
            await settled(page);
            await writeFile(join(FOLDER, `${name}-${colorScheme}.webp`), await pictureOf(page));
          });
        });
      }
    }
  }
});
