import { sql } from 'drizzle-orm';
import type { TenantStore } from '../store.ts';
import { configVerbs } from './configs.ts';
import { conversationVerbs } from './conversations.ts';
import { prepared, type StoreContext } from './handle.ts';
import { logVerbs } from './logs.ts';
import { tenant } from './tables.ts';
import { turnVerbs } from './turns.ts';

/** All verbs over one open file. */
export interface SqliteTenantStore extends TenantStore {
  closeDeadTurns(): void;
}

export function createStore(context: StoreContext): SqliteTenantStore {
  const configs = configVerbs(context);
  const rename = prepared(() =>
    context.orm
      .update(tenant)
      .set({ name: sql`${sql.placeholder('name')}` })
      .prepare(),
  );
  const { requireFree, ...turns } = turnVerbs(context, configs.getConfig);
  return {
    ...configs,
    ...turns,
    ...conversationVerbs(context, requireFree),
    ...logVerbs(context),
    setTenantName: (name) => {
      context.write(() => rename().run({ name }));
    },
  };
}
