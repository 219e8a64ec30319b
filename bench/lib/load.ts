import { Pool } from 'undici';
import { systemClock } from '../../tenant-schema/clock.ts';
import { answerWith } from './processes.ts';

// Chats with the server, as a process of its own: each turn a new conversation of the next tenant.

export interface Target {
  apiKey: string;
  configId: string;
}

export type LoadRequest =
  | { kind: 'begin'; url: string; targets: Target[]; connections: number }
  /** As many turns as `parallel` callers get done that do not pause. */
  | { kind: 'full'; parallel: number; ms: number }
  /** Turns at fixed times, whether or not the ones before have been answered. */
  | { kind: 'paced'; perSecond: number; ms: number };

export interface FullLoad {
  done: number;
  perSecond: number;
  errors: number;
}

export interface PacedLoad {
  /** From the moment at which each turn should have been sent. */
  latenciesMs: number[];
  errors: number;
}

/** A server that does not keep up is not buried: past this, a turn counts as failed. */
const IN_FLIGHT_MAX = 2000;
const ANSWER_MS_MAX = 10_000;
const BODY = JSON.stringify({ message: 'How do I change the opening hours on my page?' });

let pool: Pool | null = null;
let targets: Target[] = [];
let next = 0;

async function turn(): Promise<boolean> {
  const target = targets[next++ % targets.length];
  if (!pool || !target) throw new Error('There is nobody to chat with yet.');
  try {
    const { statusCode, body } = await pool.request({
      method: 'POST',
      path: `/api/v1/chat/${target.configId}`,
      headers: { 'x-api-key': target.apiKey, 'content-type': 'application/json' },
      body: BODY,
    });
    await body.dump();
    return statusCode === 200;
  } catch {
    return false;
  }
}

async function full(parallel: number, ms: number): Promise<FullLoad> {
  const startedAt = systemClock.monotonic();
  let done = 0;
  let errors = 0;
  const caller = async (): Promise<void> => {
    while (systemClock.monotonic() - startedAt < ms) {
      if (await turn()) done += 1;
      else errors += 1;
    }
  };
  await Promise.all(Array.from({ length: parallel }, caller));
  return { done, perSecond: (done * 1000) / (systemClock.monotonic() - startedAt), errors };
}

function paced(perSecond: number, ms: number): Promise<PacedLoad> {
  const count = Math.round((perSecond * ms) / 1000);
  const startedAt = systemClock.monotonic();
  const latenciesMs: number[] = [];
  let errors = 0;
  let sent = 0;
  let answered = 0;
  return new Promise((resolve) => {
    const send = async (dueAt: number): Promise<void> => {
      const ok = sent - answered <= IN_FLIGHT_MAX && (await turn());
      if (ok) latenciesMs.push(systemClock.monotonic() - dueAt);
      else errors += 1;
      answered += 1;
      if (answered === count) {
        clearInterval(ticker);
        resolve({ latenciesMs, errors });
      }
    };
    const ticker = setInterval(() => {
      for (; sent < count; ) {
        const dueAt = startedAt + (sent * 1000) / perSecond;
        if (dueAt > systemClock.monotonic()) return;
        sent += 1;
        void send(dueAt);
      }
    }, 1);
  });
}

answerWith(async (request: LoadRequest) => {
  if (request.kind === 'full') return full(request.parallel, request.ms);
  if (request.kind === 'paced') return paced(request.perSecond, request.ms);
  targets = request.targets;
  pool = new Pool(request.url, {
    connections: request.connections,
    headersTimeout: ANSWER_MS_MAX,
    bodyTimeout: ANSWER_MS_MAX,
  });
  return null;
});
