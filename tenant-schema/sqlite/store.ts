import { sql } from 'drizzle-orm';
import type { TenantStore } from '../store.ts';
import { configVerbs } from './configs.ts';
import { conversationVerbs } from './conversations.ts';
import type { StoreContext } from './handle.ts';
import { pruningVerbs } from './log-pruning.ts';
import { logVerbs } from './logs.ts';
import { tenant } from './tables.ts';
import { turnVerbs } from './turns.ts';
import { usageVerbs } from './usage.ts';

/** All verbs over one open file. */
export interface SqliteTenantStore extends TenantStore {
  closeDeadTurns(): void;
}

export function createStore(context: StoreContext): SqliteTenantStore {
  const configs = configVerbs(context);
  const rename = context.prepared(() =>
    context.orm
      .update(tenant)
      .set({ name: sql`${sql.placeholder('name')}` })
      .prepare(),
  );
  const { addTurn, ...usage } = usageVerbs(context);
  const { addContent, ...logs } = logVerbs(context);
  const { requireFree, ...turns } = turnVerbs(context, configs.getConfig, { addTurn, addContent });
  return {
    ...configs,
    ...turns,
    ...conversationVerbs(context, requireFree),
    ...logs,
    ...pruningVerbs(context),
    ...usage,
    setTenantName: (name) => {
      context.write(() => rename().run({ name }));
    },
  };
}
