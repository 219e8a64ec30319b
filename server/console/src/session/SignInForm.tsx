import { Button, PasswordInput, Stack } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { ErrorAlert } from '../shared/ErrorAlert.tsx';
import { useSessions } from './context.ts';

/** Takes an admin token or an API key; which of them it is, its first letters tell. */
export function SignInForm() {
  const sessions = useSessions();
  const [secret, setSecret] = useState('');
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await sessions.signIn(secret.trim());
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };

  return (
    <form onSubmit={submit} aria-label="Sign in">
      <Stack>
        <PasswordInput
          label="Admin token or API key"
          description="Operators have an admin token, tenants an API key that begins with nbs_."
          name="secret"
          autoComplete="off"
          required
          data-autofocus
          value={secret}
          onChange={(event) => setSecret(event.currentTarget.value)}
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide it' }}
        />
        <ErrorAlert error={error} />
        <Button type="submit" loading={busy} disabled={secret.trim() === ''}>
          Sign in
        </Button>
      </Stack>
    </form>
  );
}
