import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const ROOT = resolve(import.meta.dirname, '../..');
const SOURCES = join(ROOT, 'server/console/src');
const STYLES = join(ROOT, 'node_modules/@mantine/core/styles');

describe("the console's styles", () => {
  it('are there for every component that it uses', () => {
    const given = readFileSync(join(SOURCES, 'styles.css'), 'utf8');
    const used = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.tsx'))
      .map((name) => readFileSync(join(SOURCES, name), 'utf8'))
      .flatMap((text) => [...text.matchAll(/import \{([^}]*)\} from '@mantine\/core'/g)])
      .flatMap(([, names = '']) => names.match(/\b[A-Z]\w+/g) ?? []);
    expect(used).to.include('Button');
    const missing = [...new Set(used)]
      .filter((name) => existsSync(join(STYLES, `${name}.css`)))
      .filter((name) => !given.includes(`/${name}.css"`));
    expect(missing).to.deep.equal([]);
  });
});
