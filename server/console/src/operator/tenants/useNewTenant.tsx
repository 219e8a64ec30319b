import { useNavigate } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { SecretDialog } from '../../shared/SecretDialog.tsx';
import { useAction } from '../../shared/useAction.ts';

type NewTenant = Schema<'NewTenant'>;

/**
 * A way of making a tenant: when it is done, its first key is shown once, and then its page.
 * @returns what to call, and `keyDialog` to be rendered beside
 */
export function useNewTenant<Input>(run: (input: Input) => Promise<NewTenant>, onDone?: () => void) {
  const navigate = useNavigate();
  const [made, setMade] = useState<NewTenant | null>(null);
  const action = useAction<Input, NewTenant>({
    run,
    invalidates: [['tenants'], ['tenant'], ['stats'], ['fleet']],
    onDone(tenant) {
      setMade(tenant);
      onDone?.();
    },
  });
  const leave = (): void => {
    const id = made?.id;
    setMade(null);
    if (id !== undefined) void navigate({ to: '/tenants/$tenantId', params: { tenantId: id } });
  };
  const keyDialog: ReactNode = (
    <SecretDialog secret={made?.api_key ?? null} title={`The API key of ${made?.name ?? ''}`} onClose={leave}>
      Whoever has this key speaks for the tenant. Its name is “{made?.key.name}”.
    </SecretDialog>
  );
  return { action, keyDialog };
}
