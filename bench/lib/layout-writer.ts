import { systemClock, toTimestamp } from '../../tenant-schema/clock.ts';
import { createIds } from '../../tenant-schema/ids.ts';
import { type BareStore, openBareStore } from './bare-store.ts';
import type { Layout } from './bare-tables.ts';
import { answerWith } from './processes.ts';

// Writes turns of several tenants into the tables of a layout, as a process of its own. A turn is done when it is on
// the disk.

export type WriterRequest =
  | { kind: 'open'; folder: string; layout: Layout; tenants: string[]; noisy: string | null }
  /** As many turns of each tenant as `parallel` callers get done that do not pause. */
  | { kind: 'full'; parallel: number; ms: number }
  /** Turns at fixed times, of each tenant in turn; beside as many of the noisy tenant as `noise` callers get done. */
  | { kind: 'paced'; perSecond: number; ms: number; noise: number };

export interface WriterRun {
  done: number;
  /** Of turns at fixed times, from the moment at which each should have begun. */
  latenciesMs: number[];
}

const ids = createIds(systemClock);
const CONFIG_ID = ids();
const TEXT = 'piece 0 of the answer. '.repeat(8);
let store: BareStore | null = null;
let tenants: string[] = [];
let noisyTenant: string | null = null;

async function turn(tenantId: string): Promise<void> {
  if (!store) throw new Error('Nothing is open.');
  const tenant = store.tenant(tenantId);
  const at = systemClock.now();
  const request = { id: ids(), requestId: ids(), configId: CONFIG_ID, conversationId: null, at };
  const begun = tenant.begin(request, ids());
  if (!begun) throw new Error('The config is missing.');
  // Where the model would be asked.
  await new Promise<void>((resolve) => setImmediate(resolve));
  tenant.finish(request, begun, {
    userMessage: 'How do I change the opening hours on my page?',
    userMessageId: ids(),
    answer: TEXT,
    answerId: ids(),
    model: 'bench',
    inputTokens: 40,
    outputTokens: 16,
    at: systemClock.now(),
    day: toTimestamp(at).slice(0, 10),
  });
  await tenant.durable();
}

async function callers(ofTenants: string[], parallel: number, isOver: () => boolean): Promise<number> {
  let done = 0;
  const caller = async (tenantId: string): Promise<void> => {
    while (!isOver()) {
      await turn(tenantId);
      done += 1;
    }
  };
  await Promise.all(ofTenants.flatMap((id) => Array.from({ length: parallel }, () => caller(id))));
  return done;
}

async function paced(perSecond: number, ms: number): Promise<number[]> {
  const count = Math.round((perSecond * ms) / 1000);
  const startedAt = systemClock.monotonic();
  const latenciesMs: number[] = [];
  const one = async (index: number): Promise<void> => {
    const dueAt = startedAt + (index * 1000) / perSecond;
    await new Promise((resolve) => setTimeout(resolve, dueAt - startedAt));
    await turn(tenants[index % tenants.length] ?? '');
    latenciesMs.push(systemClock.monotonic() - dueAt);
  };
  await Promise.all(Array.from({ length: count }, (_, index) => one(index)));
  return latenciesMs;
}

answerWith(async (request: WriterRequest): Promise<WriterRun> => {
  if (request.kind === 'open') {
    const opened = openBareStore(request.folder, request.layout);
    store = opened;
    tenants = request.tenants;
    noisyTenant = request.noisy;
    for (const id of noisyTenant === null ? tenants : [...tenants, noisyTenant]) {
      opened.tenant(id).putConfig(CONFIG_ID, { version: 1, systemPrompt: 'You help.', modelConfig: '{}' });
    }
    return { done: 0, latenciesMs: [] };
  }
  const endsAt = systemClock.monotonic() + request.ms;
  const isOver = (): boolean => systemClock.monotonic() >= endsAt;
  if (request.kind === 'full') {
    return { done: await callers(tenants, request.parallel, isOver), latenciesMs: [] };
  }
  const noisy = noisyTenant === null ? [] : [noisyTenant];
  const [latenciesMs, done] = await Promise.all([
    paced(request.perSecond, request.ms),
    callers(noisy, request.noise, isOver),
  ]);
  return { done, latenciesMs };
});
