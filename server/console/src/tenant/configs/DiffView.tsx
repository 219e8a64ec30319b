import { Paper, Text, VisuallyHidden } from '@mantine/core';
import classes from './Diff.module.css';
import { type DiffLine, diffLines } from './diff.ts';

const SIGNS: Record<DiffLine['kind'], { sign: string; word: string }> = {
  same: { sign: ' ', word: '' },
  added: { sign: '+', word: 'added: ' },
  removed: { sign: '−', word: 'removed: ' },
};

/** What has changed between two texts, told by signs as well as by colours. */
export function DiffView({ label, before, after }: { label: string; before: string; after: string }) {
  if (before === after) return <Text c="dimmed">Nothing differs.</Text>;
  const lines = diffLines(before, after).map((line, index) => ({ ...line, key: `${index}` }));
  return (
    <Paper withBorder className={classes.lines ?? ''} role="region" aria-label={label} tabIndex={0}>
      {lines.map(({ key, kind, text }) => (
        <div key={key} className={classes[kind]}>
          <span aria-hidden="true">{SIGNS[kind].sign} </span>
          <VisuallyHidden>{SIGNS[kind].word}</VisuallyHidden>
          {text}
        </div>
      ))}
    </Paper>
  );
}
