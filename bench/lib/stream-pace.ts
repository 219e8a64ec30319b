/** How the streams of `stream-upstream.ts` go. */
export interface StreamPace {
  pieces: number;
  everyMs: number;
}

/** Marks in a piece the moment at which it was sent, in milliseconds since 1970. */
export const markOf = (now: number): string => `@${now}`;
export const MARKS = /@(\d{13})/g;
