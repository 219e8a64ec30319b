import type { Io } from './io.ts';

const GAP = '  ';
const TERMINAL_COLUMNS = 100;
const COLUMN_MIN = 8;
/** Control characters in a name must not move the cursor of who reads it. */
const CONTROL = /\p{Cc}/gu;

export interface Column<Row> {
  title: string;
  of(row: Row): string | number | null;
  /** Never cut off: an id must be there whole. */
  whole?: boolean;
  right?: boolean;
}

const cellText = (value: string | number | null): string =>
  value === null ? '-' : String(value).replace(CONTROL, '?');

const lengthOf = (text: string): number => [...text].length;

function cut(text: string, width: number): string {
  return lengthOf(text) <= width ? text : `${[...text].slice(0, Math.max(width - 1, 0)).join('')}…`;
}

/** Rows under headings, aligned; the widest columns give way where the terminal is narrow. */
export function table<Row>(io: Io, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column.of(row))));
  const widths = columns.map(({ title }, at) =>
    Math.max(title.length, ...cells.map((row) => lengthOf(row[at] ?? ''))),
  );
  if (io.stdout.isTTY) {
    const room = io.stdout.columns ?? TERMINAL_COLUMNS;
    const total = () => widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length);
    while (total() > room) {
      const flexible = widths.map((width, at) => (columns[at]?.whole ? 0 : width));
      const widest = flexible.indexOf(Math.max(...flexible));
      const width = flexible[widest] ?? 0;
      if (width <= COLUMN_MIN) break;
      widths[widest] = Math.max(width - (total() - room), COLUMN_MIN);
    }
  }
  const line = (row: readonly string[]) =>
    row
      .map((cell, at) => {
        const width = widths[at] ?? 0;
        const text = cut(cell, width);
        const padding = ' '.repeat(width - lengthOf(text));
        return columns[at]?.right ? padding + text : text + padding;
      })
      .join(GAP)
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...cells.map(line)].map((text) => `${text}\n`).join('');
}

/** One thing, a line for each of its facts. */
export function facts(pairs: readonly (readonly [string, string | number | null])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}${GAP}${cellText(value)}\n`).join('');
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Quicker work than this needs no bar. */
const SHOWN_AFTER_MS = 1000;
const REDRAW_MS = 100;
const BAR_WIDTH = 24;
const CLEAR_LINE = '\r\u001b[K';

export interface Progress {
  /** @param total 0: not known. */
  update(done: number, total: number): void;
  /** Takes the bar away, before something else is written. */
  clear(): void;
}

/** A bar on standard error while something takes longer than a second; nothing where that is not a terminal. */
export function progressBar(io: Io, label: string, format: (count: number) => string = String): Progress {
  if (!io.stderr.isTTY) return { update: () => {}, clear: () => {} };
  const startedAt = io.clock.monotonic();
  let drawnAt = 0;
  let isDrawn = false;
  return {
    update(done, total) {
      const now = io.clock.monotonic();
      if (now - startedAt < SHOWN_AFTER_MS || (now - drawnAt < REDRAW_MS && done < total)) return;
      drawnAt = now;
      isDrawn = true;
      const share = total > 0 ? Math.min(done / total, 1) : 0;
      const filled = Math.round(share * BAR_WIDTH);
      const bar = total > 0 ? ` [${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}]` : '';
      const count = total > 0 ? `${format(done)} of ${format(total)}` : format(done);
      io.stderr.write(`${CLEAR_LINE}${label}${bar} ${count}`);
    },
    clear() {
      if (isDrawn) io.stderr.write(CLEAR_LINE);
      isDrawn = false;
    },
  };
}

/** Shows, where a bar would be, since when `work` is waited for that says nothing until its end. */
export async function whileWaiting<T>(io: Io, label: string, work: Promise<T>): Promise<T> {
  if (!io.stderr.isTTY) return work;
  const startedAt = io.clock.monotonic();
  let isDrawn = false;
  const timer = setInterval(() => {
    isDrawn = true;
    const seconds = Math.round((io.clock.monotonic() - startedAt) / 1000);
    io.stderr.write(`${CLEAR_LINE}${label} ${seconds} s`);
  }, SHOWN_AFTER_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (isDrawn) io.stderr.write(CLEAR_LINE);
  }
}
