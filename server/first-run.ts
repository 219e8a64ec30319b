import type { ControlPlane } from '../control-plane/types.ts';
import type { TenantEngine } from '../tenant-schema/engine.ts';
import type { IdMaker } from '../tenant-schema/ids.ts';

/** What a start has made that is shown once and is kept nowhere else. */
export interface FirstRun {
  /** Null where one was there, or was given. */
  adminToken: string | null;
  /** Where the folder was new: a config that answers without any account, and a key for it. */
  demo: { configId: string; apiKey: string } | null;
}

const SYSTEM = { id: 'system', name: 'system', requestId: null };

/** A tenant that may ask the `demo` provider only, so that a first reply costs nothing and needs no account. */
export async function makeDemo(
  control: ControlPlane,
  engine: TenantEngine,
  ids: IdMaker,
): Promise<NonNullable<FirstRun['demo']>> {
  const id = ids();
  await engine.create({ id, name: 'Demo' });
  const { issued } = control.addTenant(id, { name: 'Demo', limits: { providers: ['demo'] } }, SYSTEM);
  const config = await engine.use(id, (store) =>
    store.createConfig({
      name: 'assistant',
      agentType: 'client-side',
      systemPrompt: 'You are the assistant of {tenant_name}. Today is {date}.',
      modelConfig: { provider: 'demo', model: 'demo' },
      toolsConfig: [],
      metadata: {},
    }),
  );
  return { configId: config.id, apiKey: issued.secret };
}

export const hasNoTenants = (control: ControlPlane): boolean =>
  Object.values(control.countTenants()).every((count) => count === 0);
