import type { Page } from 'playwright-core';

export interface FaultWatch {
  /** @throws where the page did what it should not, or did not do what the test expected */
  check(): void;
  /** @throws the error of a step, with what the page did wrong until then and what it showed */
  explain(error: unknown): Promise<never>;
}

/** Chromium repeats in the console what the answers say already. */
const REPEATED = /^Failed to load resource: /;
/** The page gave up on a request by itself, as it does when it is left; or the answer is a download. */
const OWN_CHOICE = 'net::ERR_ABORTED';
const SHOWN_TEXT_MAX = 2000;

/**
 * Notes all that a page should not do, each as one line:
 * `console …`, `exception …`, `failed GET /path net::ERR_…`, `404 GET /path`, `elsewhere http://…`.
 */
export function watchFaults(page: Page, origin: string, expected: readonly RegExp[]): FaultWatch {
  const faults: string[] = [];
  const pathOf = (url: string): string => (url.startsWith(origin) ? url.slice(origin.length) : url);

  page.on('console', (message) => {
    const isBad = message.type() === 'error' || message.type() === 'warning';
    if (isBad && !REPEATED.test(message.text())) faults.push(`console ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`exception ${error.stack ?? error.message}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(origin) && !url.startsWith('data:') && !url.startsWith('blob:')) {
      faults.push(`elsewhere ${url}`);
    }
  });
  page.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText ?? 'for no reason given';
    if (reason !== OWN_CHOICE) faults.push(`failed ${request.method()} ${pathOf(request.url())} ${reason}`);
  });
  page.on('response', (response) => {
    const line = `${response.status()} ${response.request().method()} ${pathOf(response.url())}`;
    if (response.status() >= 400) faults.push(line);
  });

  const unexpected = (): string[] =>
    faults.filter((fault) => !expected.some((pattern) => pattern.test(fault)));
  return {
    check() {
      const bad = unexpected();
      if (bad.length > 0) throw new Error(`the page did what it should not:\n${bad.join('\n')}`);
      const missing = expected.filter((pattern) => !faults.some((fault) => pattern.test(fault)));
      if (missing.length > 0) throw new Error(`never happened: ${missing.join(', ')}`);
    },
    async explain(error) {
      const text = await page
        .locator('body')
        .innerText({ timeout: 1000 })
        .catch(() => '(no page)');
      const seen = `At ${page.url()} the page shows:\n${text.slice(0, SHOWN_TEXT_MAX)}`;
      const message = [String(error), ...unexpected(), seen].join('\n');
      throw new Error(message, { cause: error });
    },
  };
}
