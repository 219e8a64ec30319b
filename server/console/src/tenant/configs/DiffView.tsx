import { Paper, Text, VisuallyHidden } from '@mantine/core';
import classes from './Diff.module.css';
import { type DiffLine, diffLines, hunksOf } from './diff.ts';

const SIGNS: Record<DiffLine['kind'], { sign: string; word: string }> = {
  same: { sign: ' ', word: '' },
  added: { sign: '+', word: 'added: ' },
  removed: { sign: '−', word: 'removed: ' },
};
const CONTEXT_LINES = 3;

/** What has changed between two texts, told by signs as well as by colours. */
export function DiffView({ label, before, after }: { label: string; before: string; after: string }) {
  if (before === after) return <Text c="dimmed">Nothing differs.</Text>;
  const hunks = hunksOf(diffLines(before, after), CONTEXT_LINES);
  return (
    <Paper withBorder className={classes.lines ?? ''} role="region" aria-label={label} tabIndex={0}>
      {hunks.map(({ skipped, lines }, index) => (
        // Neither lines nor hunks have anything of their own but their place.
        <div key={`hunk ${String(index)}`}>
          {skipped > 0 && (
            <div className={classes.skipped}>
              {skipped} {skipped === 1 ? 'line' : 'lines'} unchanged
            </div>
          )}
          {lines.map((line, place) => (
            <Line key={`line ${String(place)}`} {...line} />
          ))}
        </div>
      ))}
    </Paper>
  );
}

function Line({ kind, text }: DiffLine) {
  return (
    <div className={classes[kind]}>
      <span aria-hidden="true">{SIGNS[kind].sign} </span>
      <VisuallyHidden>{SIGNS[kind].word}</VisuallyHidden>
      {text}
    </div>
  );
}
