import { Agent } from 'undici';
import { systemClock } from '../../tenant-schema/clock.ts';
import { quantile } from './figures.ts';
import type { PlainTarget } from './load.ts';
import { answerWith } from './processes.ts';
import { MARKS } from './stream-pace.ts';

// Holds many streams open at once and reads them, as a process of its own.

export interface StreamRequest {
  url: string;
  target: PlainTarget;
  streams: number;
  /** Within which all of them begin. */
  rampMs: number;
}

export interface StreamRun {
  pieces: number;
  /** From the model's sending of a piece to its arrival here. */
  delayP50Ms: number;
  delayP99Ms: number;
  /** Of first pieces alone. */
  firstDelayP99Ms: number;
  errors: number;
  firstError: string | null;
}

const STREAM_MS_MAX = 120_000;

async function readOne(agent: Agent, { url, target }: StreamRequest, delays: number[]): Promise<number> {
  const { statusCode, body } = await agent.request({
    origin: url,
    path: target.path,
    method: 'POST',
    headers: target.headers,
    body: target.body,
  });
  let rest = '';
  let firstDelayMs = Number.NaN;
  body.setEncoding('utf8');
  for await (const text of body) {
    rest += text;
    const whole = rest.lastIndexOf('\n\n') + 2;
    if (whole < 2) continue;
    const now = systemClock.now();
    // Our last event repeats the whole answer.
    const [events = ''] = rest.slice(0, whole).split('event: done');
    for (const [, sentAt] of events.matchAll(MARKS)) {
      const delayMs = Math.max(now - Number(sentAt), 0);
      if (Number.isNaN(firstDelayMs)) firstDelayMs = delayMs;
      delays.push(delayMs);
    }
    rest = rest.slice(whole);
  }
  if (statusCode !== 200) throw new Error(`${statusCode}: ${rest.slice(0, 500)}`);
  return firstDelayMs;
}

answerWith(async (request: StreamRequest): Promise<StreamRun> => {
  const agent = new Agent({
    connections: request.streams,
    headersTimeout: STREAM_MS_MAX,
    bodyTimeout: STREAM_MS_MAX,
  });
  const delays: number[] = [];
  const firsts: number[] = [];
  let errors = 0;
  let firstError: string | null = null;
  const startedAt = systemClock.monotonic();
  const begin = async (index: number): Promise<void> => {
    const dueAt = startedAt + (index * request.rampMs) / request.streams;
    await new Promise((resolve) => setTimeout(resolve, dueAt - startedAt));
    try {
      firsts.push(await readOne(agent, request, delays));
    } catch (error) {
      errors += 1;
      firstError ??= String(error);
    }
  };
  await Promise.all(Array.from({ length: request.streams }, (_, index) => begin(index)));
  await agent.close();
  return {
    pieces: delays.length,
    delayP50Ms: quantile(delays, 0.5),
    delayP99Ms: quantile(delays, 0.99),
    firstDelayP99Ms: quantile(firsts, 0.99),
    errors,
    firstError,
  };
});
