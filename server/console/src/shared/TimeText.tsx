import { Text, Tooltip } from '@mantine/core';
import { now } from './clock.ts';
import { formatAgo, formatExactTime, formatTime } from './format.ts';

export interface TimeTextProps {
  /** RFC 3339; null shows a dash. */
  at: string | null;
  /** As `3 hours ago` rather than the date. */
  ago?: boolean;
}

/** A moment in the reader's zone, with the exact one on hover. */
export function TimeText({ at, ago = false }: TimeTextProps) {
  if (at === null) return <Text span>–</Text>;
  return (
    <Tooltip label={`${formatExactTime(at)} · ${at}`}>
      <time dateTime={at} style={{ whiteSpace: 'nowrap' }}>
        {ago ? formatAgo(at, now()) : formatTime(at)}
      </time>
    </Tooltip>
  );
}
