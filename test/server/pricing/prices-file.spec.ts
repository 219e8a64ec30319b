import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { PRICE_LIST } from '../../../server/pricing/price-list.ts';
import { PricesFileError, readPricesFile } from '../../../server/pricing/prices-file.ts';
import { createPricing, type ModelPrice, type Pricing } from '../../../server/pricing/pricing.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import type { TokenUsage } from '../../../tenant-schema/store.ts';

const USAGE: TokenUsage = {
  inputTokens: 1_000_000,
  cachedInputTokens: 200_000,
  cacheWriteInputTokens: 100_000,
  outputTokens: 1_000_000,
  reasoningTokens: 400_000,
};

describe('the file of prices', () => {
  let folder: string;
  let file: string;
  let logged: { level: string; fields: object; message: string }[];

  const write = (content: unknown): void =>
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  const open = (): Promise<Pricing> => {
    const take = (level: string) => (fields: object, message: string) => {
      logged.push({ level, fields, message });
    };
    return createPricing({ file, clock: systemClock, log: { info: take('info'), error: take('error') } });
  };
  const dollars = (price: ModelPrice | null) => price && price.cost(USAGE) / 1e6;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nimblesite-prices-'));
    file = join(folder, 'prices.json');
    logged = [];
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('adds models, with every kind of tokens priced apart', async () => {
    write({
      openai: {
        'gpt-x': {
          input: 2,
          cached_input: 0.2,
          cache_write: 2.5,
          output: 10,
          reasoning: 12,
          output_tokens_max: 9,
        },
      },
    });
    const price = (await open()).priceOf('openai', 'gpt-x');
    expect(dollars(price)).to.equal(0.7 * 2 + 0.2 * 0.2 + 0.1 * 2.5 + 0.6 * 10 + 0.4 * 12);
    expect(price?.outputTokensMax).to.equal(9);
  });

  it('takes the price of the whole for a part that is not priced, and what Anthropic asks for its cache', async () => {
    const given = { input: 2, output: 10 };
    write({ openai: { x: given }, anthropic: { x: given } });
    const pricing = await open();
    expect(dollars(pricing.priceOf('openai', 'x'))).to.equal(12);
    expect(dollars(pricing.priceOf('anthropic', 'x'))).to.equal(0.9 * 2 + 0.1 * 2.5 + 10);
    const hour = { cache_control: { ttl: '1h' } };
    expect(dollars(pricing.priceOf('anthropic', 'x', hour))).to.equal(0.9 * 2 + 0.1 * 4 + 10);
  });

  it('goes before the list, and its "*" stands in where nothing else has a price', async () => {
    write({
      openai: { 'gpt-5-mini': { input: 1, output: 1 }, '*': { input: 3, output: 3 } },
      ollama: { '*': { input: 0.5, output: 0.5 } },
    });
    const pricing = await open();
    expect(dollars(pricing.priceOf('openai', 'gpt-5-mini'))).to.equal(2);
    expect(dollars(pricing.priceOf('openai', 'never-heard-of'))).to.equal(6);
    expect(dollars(pricing.priceOf('openai', 'gpt-4.1'))).to.be.above(6);
    expect(dollars(pricing.priceOf('ollama', 'llama3.2'))).to.equal(1);
    expect(pricing.priceOf('groq', 'never-heard-of')).to.equal(null);
    expect(dollars(pricing.priceOf('demo', 'demo'))).to.equal(0);
  });

  it('is named in the version, by its content', async () => {
    write({ openai: { x: { input: 1, output: 1 } } });
    const [first, same] = [(await open()).priceOf('demo', 'x'), (await open()).priceOf('openai', 'x')];
    write({ openai: { x: { input: 1, output: 2 } } });
    const other = (await open()).priceOf('openai', 'x');
    expect(first?.version).to.match(/^genai-prices@[\d.]+\+[0-9a-f]{12}$/);
    expect(first?.version.startsWith(`${PRICE_LIST}+`)).to.equal(true);
    expect(same?.version).to.equal(first?.version);
    expect(other?.version).not.to.equal(first?.version);
  });

  it('is read again on demand; a turn that has begun keeps its price', async () => {
    write({ openai: { x: { input: 1, output: 1 } } });
    const pricing = await open();
    const before = pricing.priceOf('openai', 'x');
    write({ openai: { y: { input: 2, output: 2 } } });
    pricing.reload();
    expect(dollars(before)).to.equal(2);
    expect(pricing.priceOf('openai', 'x')).to.equal(null);
    expect(dollars(pricing.priceOf('openai', 'y'))).to.equal(4);
    expect(logged.map(({ level }) => level)).to.deep.equal(['info']);
  });

  it('leaves the old prices where it cannot be used when it is read again, and the log says why', async () => {
    write({ openai: { x: { input: 1, output: 1 } } });
    const pricing = await open();
    const version = pricing.priceOf('openai', 'x')?.version;
    for (const spoil of [() => write('{"openai": {'), () => rmSync(file)]) {
      spoil();
      pricing.reload();
      expect(dollars(pricing.priceOf('openai', 'x'))).to.equal(2);
      expect(pricing.priceOf('openai', 'x')?.version).to.equal(version);
    }
    expect(logged.map(({ level, fields }) => [level, 'reason' in fields && fields.reason])).to.deep.equal([
      ['error', 'line 1, column 13: it is not JSON'],
      ['error', 'it cannot be read (ENOENT)'],
    ]);
  });

  const price = { input: 1, output: 1 };
  const WRONG: [content: unknown, said: RegExp][] = [
    ['', /not JSON/],
    ['{\n  "openai": {\n    "x": {"input": 1,}\n  }\n}', /^line 3, column \d+: it is not JSON$/],
    ['[]', /^the file /],
    ['null', /^the file /],
    [{ opnai: { x: price } }, /^opnai is no provider; there are openai, anthropic, /],
    [{ openai: [price] }, /^openai /],
    [
      { openai: { x: { input: 1 } } },
      /^openai\.x\.output must be a number of US dollars per million tokens$/,
    ],
    [{ openai: { 'gpt-4.1': { ...price, input: '1' } } }, /^openai\.gpt-4\.1\.input must be a number/],
    [{ openai: { x: { ...price, input: -1 } } }, /^openai\.x\.input must not be negative$/],
    [{ openai: { x: { ...price, input: 10_001 } } }, /^openai\.x\.input must be at most 10000 /],
    [{ openai: { x: { ...price, output: 0.0000001 } } }, /^openai\.x\.output must have at most 6 decimals$/],
    [{ openai: { x: { ...price, cached: 1 } } }, /^openai\.x has unknown fields: cached$/],
    [
      { openai: { x: { ...price, output_tokens_max: 1.5 } } },
      /^openai\.x\.output_tokens_max must be a whole number$/,
    ],
    [
      { openai: { x: { ...price, output_tokens_max: 0 } } },
      /^openai\.x\.output_tokens_max must be at least 1$/,
    ],
    [
      { openai: { a: {}, b: {}, c: {} } },
      /^openai\.a\.input .*; openai\.a\.output .*; openai\.b\.input .*; and 3 more$/,
    ],
  ];
  for (const [content, said] of WRONG) {
    it(`is refused in one line that names the place: ${JSON.stringify(content).slice(0, 60)}`, () => {
      write(content);
      expect(() => readPricesFile(file))
        .to.throw(PricesFileError, said)
        .with.property('message')
        .that.does.not.include('\n');
    });
  }

  it('is refused where it is not there, is a folder or is far too large', () => {
    expect(() => readPricesFile(join(folder, 'nowhere.json'))).to.throw(PricesFileError, 'ENOENT');
    expect(() => readPricesFile(folder)).to.throw(PricesFileError, 'EISDIR');
    write(' '.repeat(4 * 1024 * 1024 + 1));
    expect(() => readPricesFile(file)).to.throw(PricesFileError, 'larger than');
  });

  it('may be empty of prices, and may begin with a byte order mark', () => {
    write('\ufeff{}');
    expect(readPricesFile(file).find('openai', 'x')).to.equal(null);
  });
});

describe('the example in docs/prices.md', () => {
  it('is a file of prices that can be used', () => {
    const docs = readFileSync(resolve(import.meta.dirname, '../../../docs/prices.md'), 'utf8');
    const [, example = ''] = /```json\n([\s\S]*?)```/.exec(docs) ?? [];
    const folder = mkdtempSync(join(tmpdir(), 'nimblesite-prices-'));
    try {
      writeFileSync(join(folder, 'prices.json'), example);
      const prices = readPricesFile(join(folder, 'prices.json'));
      expect(prices.find('anthropic', 'claude-next')).not.to.equal(null);
      expect(prices.find('openrouter', '*')).not.to.equal(null);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
