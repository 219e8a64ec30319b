import { execFileSync } from 'node:child_process';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { BUILT_IN_VARIABLES, renderTemplate } from '../../server/agent/template.ts';
import { diffLines, hunksOf } from '../../server/console/src/tenant/configs/diff.ts';
import { objectSchemaFault, parseJsonObject } from '../../server/console/src/tenant/configs/json-schema.ts';
import { snippetsOf } from '../../server/console/src/tenant/playground/snippets.ts';
import * as page from '../../server/console/src/tenant/template.ts';

describe("the tenant's pages", () => {
  it('preview a prompt as the server renders it', () => {
    const piece = fc.constantFrom(
      '{date}',
      '{plan}',
      '{',
      '}',
      '{{plan}}',
      '{9}',
      '{a b}',
      'text',
      '\n',
      '{_}',
    );
    const values: Record<string, string> = { date: '2026-01-31', plan: '{date}', _: '' };
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const template = pieces.join('');
        const shown = page
          .partsOf(template)
          .map(({ text, variable }) => (variable === null ? text : (values[variable] ?? text)));
        expect(shown.join('')).to.equal(renderTemplate(template, values));
      }),
    );
    expect(page.BUILT_IN_VARIABLES).to.deep.equal(BUILT_IN_VARIABLES);
  });

  it('take every schema that the server takes, and tell the usual faults', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    const good = [
      {},
      { type: 'object', properties: { a: { type: ['string', 'null'] }, b: true }, required: ['a'] },
      { $defs: { x: { type: 'integer', minimum: 0 } }, properties: { y: { $ref: '#/$defs/x' } } },
      { anyOf: [{ required: ['a'] }, { not: { required: ['b'] } }], additionalProperties: false },
      { properties: { list: { items: { enum: [1, 'two', null] }, minItems: 1, uniqueItems: true } } },
      { properties: { type: { type: 'string' }, required: { type: 'boolean' } }, 'x-own': 1, default: {} },
    ];
    const bad: [schema: Record<string, unknown>, pointer: string][] = [
      [{ properties: { a: { type: 'strng' } } }, '/properties/a/type'],
      [{ properties: ['a'] }, '/properties'],
      [{ required: 'a' }, '/required'],
      [{ required: ['a', 'a'] }, '/required'],
      [{ properties: { a: { minLength: -1 } } }, '/properties/a/minLength'],
      [{ oneOf: [] }, '/oneOf'],
      [{ properties: { a: { items: 'string' } } }, '/properties/a/items'],
    ];
    for (const schema of good) {
      expect(ajv.validateSchema(schema), JSON.stringify(schema)).to.equal(true);
      expect(objectSchemaFault(schema), JSON.stringify(schema)).to.equal(undefined);
    }
    for (const [schema, pointer] of bad) {
      expect(ajv.validateSchema(schema), JSON.stringify(schema)).to.equal(false);
      expect(objectSchemaFault(schema)).to.include(`"${pointer}"`);
    }
    expect(objectSchemaFault({ type: 'string' })).to.include('"object"');
    expect(() => parseJsonObject('[1]')).to.throw('must be a JSON object');
    expect(() => parseJsonObject('{"a":')).to.throw('is not JSON');
  });

  it('compare versions so that both can be read out of what is shown', () => {
    const text = fc
      .array(fc.constantFrom('a', 'b', 'c', ''), { maxLength: 12 })
      .map((lines) => lines.join('\n'));
    fc.assert(
      fc.property(text, text, (before, after) => {
        const lines = diffLines(before, after);
        const side = (without: string) => lines.flatMap((line) => (line.kind === without ? [] : line.text));
        expect(side('added').join('\n')).to.equal(before);
        expect(side('removed').join('\n')).to.equal(after);
        const hunks = hunksOf(lines, 1);
        const counted = hunks.reduce((sum, { skipped, lines: shown }) => sum + skipped + shown.length, 0);
        expect(counted).to.equal(lines.length);
      }),
    );
    const changed = diffLines('a\nb\nc', 'a\nx\nc').map(({ kind, text: line }) => `${kind} ${line}`);
    expect(changed).to.deep.equal(['same a', 'removed b', 'added x', 'same c']);
  });

  it('give a curl line that a shell passes on as it was sent', () => {
    const body = { message: `It's "quoted" $HOME \`id\` \\n ok\n'end'` };
    const [curl] = snippetsOf('http://127.0.0.1:8080', 'some-id', body);
    const print = 'curl() { for last in "$@"; do :; done; printf %s "$last"; }';
    const sent = execFileSync('sh', ['-c', `${print}\n${curl?.source}`], { encoding: 'utf8' });
    expect(JSON.parse(sent)).to.deep.equal({ ...body, stream: true });
  });
});
