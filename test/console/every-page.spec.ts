import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { expect } from 'chai';
import type { Page } from 'playwright-core';
import { OPERATOR_PAGES, settled, TENANT_PAGES } from './pages.ts';
import { createPastClock, type Seeded, seed } from './seed.ts';
import { BROWSER_TIMEOUT_MS, createWorld, shown } from './support.ts';

/** Compressed, as it comes over the wire. */
const FIRST_LOAD_BYTES_MAX = 250_000;
const PHONE = { width: 375, height: 740 };

interface Violation {
  id: string;
  help: string;
  nodes: { target: string[]; failureSummary: string }[];
}

describe('every page of the console', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const clock = createPastClock();
  const world = createWorld({ clock });
  let seeded: Seeded;
  let axe: string;
  /** The classes that the library's styles are about. */
  let libraryClasses: string[];

  before(async () => {
    const { resolve } = createRequire(import.meta.url);
    axe = await readFile(resolve('axe-core/axe.min.js'), 'utf8');
    const styles = await readFile(resolve('@mantine/core/styles.css'), 'utf8');
    libraryClasses = [...new Set(styles.match(/\bm_[0-9a-z]+/g))];
    seeded = await seed(world, clock);
  });

  /** Everything that axe finds, none of its rules left out. */
  async function expectAccessible(page: Page, where: string): Promise<void> {
    if (!(await page.evaluate("'axe' in window"))) await page.evaluate(axe);
    const violations = (await page.evaluate(
      "axe.run({ resultTypes: ['violations'] }).then((result) => result.violations)",
    )) as Violation[];
    const found = violations.map(({ id, help, nodes }) =>
      [`${id}: ${help}`, ...nodes.map(({ target, failureSummary }) => `  ${target} ${failureSummary}`)].join(
        '\n',
      ),
    );
    if (found.length > 0) throw new Error(`axe (${where}):\n${found.join('\n')}`);
  }

  /** The page itself never scrolls sideways; a wide table does so in a place of its own. */
  async function expectNarrow(page: Page): Promise<void> {
    const wide = await page.evaluate(`
      document.documentElement.scrollWidth <= innerWidth ? [] :
        [...document.querySelectorAll('body *')]
          .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
          .map((element) => element.outerHTML.slice(0, 120))
    `);
    expect(wide, `wider than ${PHONE.width} px`).to.deep.equal([]);
  }

  /** The console takes the styles of the library's components one by one: none that it shows may be without. */
  async function expectStyled(page: Page): Promise<void> {
    const bare = await page.evaluate(`
      const known = new Set(${JSON.stringify(libraryClasses)});
      const styled = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).map((rule) => rule.cssText).join();
      const used = new Set([...document.querySelectorAll('[class]')].flatMap((element) => [...element.classList]));
      [...used].filter((name) => known.has(name) && !styled.includes(name))
        .map((name) => document.querySelector('.' + name).className)
    `);
    expect(bare, 'components without their styles').to.deep.equal([]);
  }

  const check = async (page: Page): Promise<void> => {
    await expectStyled(page);
    await expectAccessible(page, 'light');
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.setViewportSize(PHONE);
    await settled(page);
    await expectNarrow(page);
    await expectAccessible(page, 'dark, on a phone');
  };

  describe('can be used by everybody, light and dark, on a phone too', () => {
    it('sign-in', () =>
      world.visit('/', {}, async (page) => {
        await settled(page);
        await check(page);
      }));

    const groups = [
      ['operator', OPERATOR_PAGES, () => world.operator()],
      ['tenant', TENANT_PAGES, () => ({ api_key: seeded.tenant.apiKey })],
    ] as const;
    for (const [who, pages, as] of groups) {
      for (const { name, path, open } of pages) {
        it(`${who}: ${name}`, () =>
          world.visit(path(seeded), { as: as() }, async (page) => {
            await settled(page);
            await open?.(page);
            await settled(page);
            await check(page);
          }));
      }

      it(`${who}: no page of the navigation is left out`, () =>
        world.visit('/', { as: as() }, async (page) => {
          await settled(page);
          const links = page.getByRole('navigation', { name: 'Pages' }).getByRole('link');
          const addresses = await Promise.all((await links.all()).map((link) => link.getAttribute('href')));
          expect(addresses).to.have.length.greaterThan(3);
          const known = pages.map(({ path }) => `/console${path(seeded).split('?')[0]}`);
          expect(known).to.include.members(addresses);
        }));
    }

    it('an address that there is not', () =>
      world.visit('/nowhere', { as: world.operator() }, async (page) => {
        await shown(page.getByText('There is no such page'));
        await check(page);
      }));
  });

  describe(`is there after ${FIRST_LOAD_BYTES_MAX / 1000} kB at most, charts aside`, () => {
    const firstPages = [
      ['signing in', '/', () => ({})],
      ['as the operator', '/tenants', () => ({ as: world.operator() })],
      ['as a tenant', '/playground', () => ({ as: { api_key: seeded.tenant.apiKey } })],
    ] as const;
    for (const [who, path, options] of firstPages) {
      it(who, () =>
        world.visit(path, options(), async (page) => {
          await settled(page);
          const bytes = Number(
            await page.evaluate(`
              [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
                .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)
            `),
          );
          expect(bytes).to.be.within(50_000, FIRST_LOAD_BYTES_MAX);
        }),
      );
    }
  });
});
