import { Paper } from '@mantine/core';
import { EmptyState } from '../shared/EmptyState.tsx';
import type { Scope } from './scopes.ts';

/** Stands where the key of this session may not look, or act. */
export function NoScope({ scope }: { scope: Scope }) {
  return (
    <Paper withBorder>
      <EmptyState title={`This key has no “${scope}” scope`}>
        Sign in with a key that has it to use this page; keys are made under “Keys” by one that may manage.
      </EmptyState>
    </Paper>
  );
}
