/** The only two ways this program learns the time. Handed down from the composition root. */
export interface Clock {
  /** Milliseconds since 1970-01-01 UTC. */
  now(): number;
  /** Milliseconds on a clock that never steps back; only differences mean anything. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** RFC 3339, UTC, milliseconds: the one way a time is written to a client. */
export const toTimestamp = (epochMs: number): string => new Date(epochMs).toISOString();
