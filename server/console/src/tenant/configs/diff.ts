/** A line of two texts laid side by side. */
export interface DiffLine {
  kind: 'same' | 'added' | 'removed';
  text: string;
}

/** Above this many comparisons, what differs is shown as one block out, one block in. */
const CELLS_MAX = 4_000_000;

const as = (kind: DiffLine['kind'], lines: readonly string[]): DiffLine[] =>
  lines.map((text) => ({ kind, text }));

/** The longest common lines, by the table of the lengths of what is common to the rest of both. */
function diffMiddle(before: readonly string[], after: readonly string[]): DiffLine[] {
  if (before.length * after.length > CELLS_MAX) return [...as('removed', before), ...as('added', after)];
  const width = after.length + 1;
  const common = new Uint32Array((before.length + 1) * width);
  const at = (row: number, column: number): number => common[row * width + column] ?? 0;
  for (let row = before.length - 1; row >= 0; row -= 1) {
    for (let column = after.length - 1; column >= 0; column -= 1) {
      common[row * width + column] =
        before[row] === after[column]
          ? at(row + 1, column + 1) + 1
          : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const lines: DiffLine[] = [];
  let row = 0;
  let column = 0;
  while (row < before.length && column < after.length) {
    if (before[row] === after[column]) {
      lines.push(...as('same', before.slice(row, row + 1)));
      row += 1;
      column += 1;
    } else if (at(row + 1, column) >= at(row, column + 1)) {
      lines.push(...as('removed', before.slice(row, row + 1)));
      row += 1;
    } else {
      lines.push(...as('added', after.slice(column, column + 1)));
      column += 1;
    }
  }
  return [...lines, ...as('removed', before.slice(row)), ...as('added', after.slice(column))];
}

/** What has to be taken out of one text and put in to make it the other, line by line. */
export function diffLines(before: string, after: string): DiffLine[] {
  const old = before.split('\n');
  const fresh = after.split('\n');
  const shorter = Math.min(old.length, fresh.length);
  let head = 0;
  while (head < shorter && old[head] === fresh[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === fresh.at(-1 - tail)) tail += 1;
  return [
    ...as('same', old.slice(0, head)),
    ...diffMiddle(old.slice(head, old.length - tail), fresh.slice(head, fresh.length - tail)),
    ...as('same', old.slice(old.length - tail)),
  ];
}

/** Lines of a difference that are shown, after some that are not, since they are the same in both. */
export interface Hunk {
  /** How many lines are left out before it. */
  skipped: number;
  lines: DiffLine[];
}

/** What differs, with a few lines around each change; the last one may have no lines. */
export function hunksOf(lines: readonly DiffLine[], context: number): Hunk[] {
  const isNear = (index: number): boolean =>
    lines.slice(Math.max(0, index - context), index + context + 1).some(({ kind }) => kind !== 'same');
  const hunks: Hunk[] = [];
  let current: Hunk = { skipped: 0, lines: [] };
  lines.forEach((line, index) => {
    if (isNear(index)) {
      current.lines.push(line);
    } else if (current.lines.length > 0) {
      hunks.push(current);
      current = { skipped: 1, lines: [] };
    } else {
      current.skipped += 1;
    }
  });
  return [...hunks, current];
}
