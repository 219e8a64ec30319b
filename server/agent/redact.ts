/**
 * Takes what looks like a secret out of a text that is to be kept: API keys of common vendors and our own, tokens,
 * private keys, passwords that are named so, card numbers. Each place is replaced by `[redacted]`.
 *
 * Takes time in proportion to the text, whatever it says: a tenant's users choose it. Hence each pattern either begins
 * where a run of its characters begins (the look-behinds), or has a bound on how far it reaches.
 */
export function redactSecrets(text: string): string {
  let kept = withoutPrivateKeys(text);
  for (const pattern of TOKENS) kept = kept.replace(pattern, REDACTED);
  kept = kept.replace(NAMED, (_, name: string) => `${name}${REDACTED}`);
  return kept.replace(CARD, (digits) => (isCardNumber(digits) ? REDACTED : digits));
}

const REDACTED = '[redacted]';

/** Texts that are a secret by their form. */
const TOKENS: readonly RegExp[] = [
  // OpenAI, Anthropic, OpenRouter, Stripe and those that followed them.
  /(?<![A-Za-z0-9_-])(?:sk|rk|pk|xai|gsk)[-_][A-Za-z0-9_-]{16,}/g,
  // Our own keys and admin tokens.
  /(?<![A-Za-z0-9_-])nb[acs]_[A-Za-z0-9_-]{16,}/g,
  // AWS, Google, GitHub, GitLab, Slack.
  /(?<![A-Za-z0-9_-])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])/g,
  /(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{30,}/g,
  /(?<![A-Za-z0-9_-])(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}/g,
  /(?<![A-Za-z0-9_-])xox[abeprs]-[A-Za-z0-9-]{10,}/g,
  // JSON Web Tokens.
  /(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}/g,
  // What stands after the name of its scheme.
  /(?<=\b[Bb](?:earer|asic) {1,4})[A-Za-z0-9._~+/=-]{16,}/g,
];

/** A value after a name that says what it is: `password=…`, `"api_key": "…"`. */
const NAMED =
  /((?:pass(?:word|wd|phrase)|secret|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token|private[_-]?key)["']{0,2} {0,4}[:=] {0,4}["']?)(?!\[redacted\])[^\s"',;&]{4,500}/gi;

/** 13 to 19 digits, in groups or not. */
const CARD = /(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])/g;

/** The check digit of card numbers (Luhn); other long numbers do not have it, nine times out of ten. */
function isCardNumber(text: string): boolean {
  const digits = [...text].filter((char) => char >= '0' && char <= '9').map(Number);
  const sum = digits.reduceRight((total, digit, index) => {
    const doubled = (digits.length - index) % 2 === 0 ? digit * 2 : digit;
    return total + (doubled > 9 ? doubled - 9 : doubled);
  }, 0);
  return sum % 10 === 0;
}

/** By hand: a pattern from a beginning to its end would look for the end once for every beginning. */
function withoutPrivateKeys(text: string): string {
  const begins = /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----/g;
  const ends = /-----END [A-Z ]{0,40}PRIVATE KEY-----/g;
  let kept = '';
  let from = 0;
  for (;;) {
    begins.lastIndex = from;
    const begin = begins.exec(text);
    if (!begin) return kept + text.slice(from);
    kept += text.slice(from, begin.index) + REDACTED;
    ends.lastIndex = begin.index;
    // One that was cut off is a secret to the end of the text.
    if (!ends.exec(text)) return kept;
    from = ends.lastIndex;
  }
}
