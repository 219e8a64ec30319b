import { Pool } from 'undici';
import { systemClock } from '../../tenant-schema/clock.ts';
import { answerWith } from './processes.ts';

// Chats with a server, as a process of its own.

/** Somebody to chat with over the server's own API. */
export interface ChatTarget {
  apiKey: string;
  configId: string;
}
/** A request that is the same each time, for whoever keeps no conversation. */
export interface PlainTarget {
  path: string;
  headers: Record<string, string>;
  body: string;
}
export type Target = ChatTarget | PlainTarget;

export type LoadRequest =
  | {
      kind: 'begin';
      url: string;
      targets: Target[];
      connections: number;
      /** After so many turns a conversation is left for a new one; 1 if not given. */
      conversationTurns?: number;
      /** Conversations of the first target that go on, instead of new ones. */
      conversationIds?: string[];
      /** The nth target is chosen with a weight of 1 / n to this power; in turn if not given. */
      zipf?: number;
    }
  /** As many turns as `parallel` callers get done that do not pause. */
  | { kind: 'full'; parallel: number; ms: number }
  /** Turns at fixed times, whether or not the ones before have been answered. */
  | { kind: 'paced'; perSecond: number; ms: number };

export interface FullLoad {
  done: number;
  perSecond: number;
  errors: number;
  /** What went wrong first. */
  firstError: string | null;
}

export interface PacedLoad {
  /** From the moment at which each turn should have been sent; of one that failed, as long as any is waited for. */
  latenciesMs: number[];
  errors: number;
  firstError: string | null;
}

/** A conversation that waits for its next turn. */
interface Waiting {
  target: ChatTarget;
  conversationId: string;
  turns: number;
}

/** A server that does not keep up is not buried: past this, a turn counts as failed. */
const IN_FLIGHT_MAX = 2000;
const ANSWER_MS_MAX = 10_000;
const MESSAGE = 'How do I change the opening hours on my page?';
const FIRST_BODY = JSON.stringify({ message: MESSAGE });

let pool: Pool | null = null;
let targets: Target[] = [];
let conversationTurns = 1;
let choose: () => number = () => 0;
let waiting: Waiting[] = [];
let firstError: string | null = null;

/** Picks the nth of `count` with a weight of 1 / n to the power of `exponent`. */
function zipfChooser(count: number, exponent: number): () => number {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let index = 0; index < count; index += 1) {
    sum += (index + 1) ** -exponent;
    sums[index] = sum;
  }
  return () => {
    const at = Math.random() * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] ?? sum) < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

function roundRobin(count: number): () => number {
  let next = 0;
  return () => next++ % count;
}

async function post({ path, headers, body }: PlainTarget): Promise<string> {
  if (!pool) throw new Error('There is nobody to chat with yet.');
  const answer = await pool.request({ method: 'POST', path, headers, body });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${answer.statusCode}: ${text.slice(0, 500)}`);
  return text;
}

async function chat({ target, conversationId, turns }: { target: ChatTarget } & Partial<Waiting>) {
  const text = await post({
    path: `/api/v1/chat/${target.configId}`,
    headers: { 'x-api-key': target.apiKey, 'content-type': 'application/json' },
    body: conversationId ? JSON.stringify({ message: MESSAGE, conversation_id: conversationId }) : FIRST_BODY,
  });
  if (conversationTurns === 1) return;
  const had = (turns ?? 0) + 1;
  const { conversation_id } = JSON.parse(text) as { conversation_id: string };
  if (had < conversationTurns) waiting.push({ target, conversationId: conversation_id, turns: had });
}

async function turn(): Promise<boolean> {
  try {
    const earlier = waiting.shift();
    if (earlier) await chat(earlier);
    else {
      const target = targets[choose()];
      if (!target) throw new Error('There is nobody to chat with yet.');
      await ('path' in target ? post(target) : chat({ target }));
    }
    return true;
  } catch (error) {
    firstError ??= error instanceof Error ? error.message : String(error);
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
  const perSecond = (done * 1000) / (systemClock.monotonic() - startedAt);
  return { done, perSecond, errors, firstError };
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
      if (!ok) errors += 1;
      latenciesMs.push(ok ? systemClock.monotonic() - dueAt : ANSWER_MS_MAX);
      answered += 1;
      if (answered === count) {
        clearInterval(ticker);
        resolve({ latenciesMs, errors, firstError });
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
  firstError = null;
  if (request.kind === 'full') return full(request.parallel, request.ms);
  if (request.kind === 'paced') return paced(request.perSecond, request.ms);
  targets = request.targets;
  conversationTurns = request.conversationTurns ?? 1;
  const [first] = targets;
  waiting =
    first && 'configId' in first
      ? (request.conversationIds ?? []).map((conversationId) => ({ target: first, conversationId, turns: 0 }))
      : [];
  choose =
    request.zipf === undefined ? roundRobin(targets.length) : zipfChooser(targets.length, request.zipf);
  await pool?.close();
  pool = new Pool(request.url, {
    connections: request.connections,
    headersTimeout: ANSWER_MS_MAX,
    bodyTimeout: ANSWER_MS_MAX,
  });
  return null;
});
