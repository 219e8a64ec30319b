import { useSession } from '../session/context.ts';
import type { Session } from '../session/session.ts';

type TenantSession = Extract<Session, { kind: 'tenant' }>;
export type Scope = TenantSession['scopes'][number];

/** The tenant that is signed in. Only for the tenant's pages. */
export function useTenantSession(): TenantSession {
  const session = useSession();
  if (session.kind !== 'tenant') throw new Error('no tenant is signed in');
  return session;
}

/** Whether the key of this session may do what needs the scope. */
export const useMay = (scope: Scope): boolean => useTenantSession().scopes.includes(scope);
