import { expect } from 'chai';
import fc from 'fast-check';
import { keyPrefix, makeKey, parseKey } from '../../control-plane/key-format.ts';
import { createIds } from '../../tenant-schema/ids.ts';

const ids = createIds({ now: () => Date.UTC(2026, 0, 1), monotonic: () => 0 });
const LETTERS_AND_DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

describe('the text of a key', () => {
  it('comes apart into the key id and the secret it was made of', () => {
    for (let i = 0; i < 200; i += 1) {
      const keyId = ids();
      const { text, secret } = makeKey(keyId);
      expect(parseKey(text)).to.deep.equal({ keyId, secret });
      expect(text.startsWith(`${keyPrefix(keyId)}_`)).to.equal(true);
    }
  });

  it('has only letters and digits after its mark, apart from one separator', () => {
    expect(makeKey(ids()).text).to.match(/^nbs_[0-9a-f]{32}_[0-9A-Za-z]{49}$/);
  });

  it('draws its 43 secret characters uniformly from all 62', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 2000; i += 1) {
      for (const char of makeKey(ids()).secret) counts.set(char, (counts.get(char) ?? 0) + 1);
    }
    const expected = (2000 * 43) / 62;
    expect([...counts.keys()].sort().join('')).to.equal(LETTERS_AND_DIGITS);
    // Six standard deviations: not once in a hundred million runs by chance, always with a modulo bias.
    const tolerance = 6 * Math.sqrt(expected);
    for (const count of counts.values()) expect(Math.abs(count - expected)).to.be.below(tolerance);
  });

  it('is refused after any change of one character', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 85 }),
        fc.oneof(fc.constantFrom(...LETTERS_AND_DIGITS, '_'), fc.string({ unit: 'binary', maxLength: 1 })),
        (at, char) => {
          const { text } = makeKey(ids());
          fc.pre(text[at] !== char);
          expect(parseKey(text.slice(0, at) + char + text.slice(at + 1))).to.equal(undefined);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('is refused after two neighbours changed places', () => {
    fc.assert(
      fc.property(fc.nat({ max: 84 }), (at) => {
        const { text } = makeKey(ids());
        const swapped = text.slice(0, at) + text.charAt(at + 1) + text.charAt(at) + text.slice(at + 2);
        fc.pre(swapped !== text);
        expect(parseKey(swapped)).to.equal(undefined);
      }),
    );
  });

  it('is refused with anything before or after it, and whatever else a client may send', () => {
    const { text } = makeKey(ids());
    for (const wrong of [
      '',
      'nbs_',
      ` ${text}`,
      `${text}\n`,
      `${text}x`,
      text.toUpperCase(),
      'nbs_'.repeat(1e5),
    ]) {
      expect(parseKey(wrong)).to.equal(undefined);
    }
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (any) => parseKey(any) === undefined));
  });
});
