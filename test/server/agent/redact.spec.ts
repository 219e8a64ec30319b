import { expect } from 'chai';
import fc from 'fast-check';
import { redactSecrets } from '../../../server/agent/redact.ts';

const PEM = '-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc=\n-----END RSA PRIVATE KEY-----';

describe('redaction of secrets', () => {
  const secrets: Record<string, string> = {
    'an OpenAI key': 'sk-proj-Abcdefghijklmnop1234_-5678',
    'an Anthropic key': 'sk-ant-api03-abcdefghijklmnopqrstuvwxyz',
    'a key of ours': 'nbs_0190aabbccddeeff0011223344556677_AbCdEfGhIjKlMnOpQrStUvWxYz',
    'an admin token of ours': 'nba_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789',
    'a session of the console': 'nbc_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789',
    'an AWS key id': 'AKIAIOSFODNN7EXAMPLE',
    'a Google key': 'AIzaSyA1234567890abcdefghijklmnopqrstuv',
    'a GitHub token': 'ghp_abcdefghijklmnopqrstuvwxyz0123456789',
    'a Slack token': 'xoxb-123456789012-abcdefghijkl',
    'a JSON Web Token': 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9mLWl0',
    'a private key': PEM,
    'a card number': '4242 4242 4242 4242',
  };
  for (const [what, secret] of Object.entries(secrets)) {
    it(`takes out ${what}, and nothing around it`, () => {
      expect(redactSecrets(`before ${secret} after`)).to.equal('before [redacted] after');
      expect(redactSecrets(`{"text":"${secret}"}`)).to.equal('{"text":"[redacted]"}');
    });
  }

  it('takes out what a name says is secret, and keeps the name', () => {
    expect(redactSecrets('password=hunter2 user=me')).to.equal('password=[redacted] user=me');
    expect(redactSecrets('{"api_key": "abcd1234", "x": 1}')).to.equal('{"api_key": "[redacted]", "x": 1}');
    expect(redactSecrets('Authorization: Bearer abcdefghijklmnop1234')).to.equal(
      'Authorization: Bearer [redacted]',
    );
  });

  it('leaves ordinary text as it is', () => {
    const text = 'Ask-me about sk-ills, order 1234567890123 and the token economy; the password is not here.';
    expect(redactSecrets(text)).to.equal(text);
  });

  it('takes out a private key that was cut off, to its end', () => {
    expect(redactSecrets(`x ${PEM.slice(0, 60)}`)).to.equal('x [redacted]');
  });

  it('takes out a secret wherever it stands between other words', () => {
    const word = fc.stringMatching(/^[a-z ]{0,20}$/);
    fc.assert(
      fc.property(word, word, fc.constantFrom(...Object.values(secrets)), (before, after, secret) => {
        expect(redactSecrets(`${before} ${secret} ${after}`)).to.not.include(secret);
      }),
    );
  });

  it('reads each part of a text a bounded number of times, whatever the text says', () => {
    // Each would take minutes with a pattern that begins anew inside a run, or that looks for an end from every beginning.
    const hostile = [
      'eyJaaaaaaaa-',
      'sk-',
      '-----BEGIN PRIVATE KEY-----',
      '1 ',
      'password=',
      'Bearer    ',
      'a.',
      'eyJaaaaaaaa.aaaaaaaa.',
    ];
    for (const piece of hostile) redactSecrets(piece.repeat(2_000_000 / piece.length));
  });
});
