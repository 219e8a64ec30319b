import { Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useMemo, useRef } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { isProvider } from '../../shared/providers.ts';
import { given } from '../../shared/search.ts';
import { useAction } from '../../shared/useAction.ts';
import { NoScope } from '../NoScope.tsx';
import { configQuery, meQuery } from '../queries.ts';
import { useMay } from '../scopes.ts';
import { ConfigEditor } from './ConfigEditor.tsx';
import { draftOf, newDraft } from './draft.ts';

const route = getRouteApi('/tenant/configs/new');

/** Makes a config, and leads on to the playground. */
export function NewConfigPage() {
  return (
    <>
      <PageHeader
        title="New config"
        description="The demo provider answers without a key: make it, then try it in the playground."
      />
      {useMay('manage') ? <NewConfig /> : <NoScope scope="manage" />}
    </>
  );
}

function NewConfig() {
  const api = useApi();
  const { copy } = route.useSearch();
  const navigate = route.useNavigate();
  const me = useQuery(meQuery(api));
  const source = useQuery({ ...configQuery(api, copy ?? ''), enabled: copy !== undefined });
  const made = useRef<string>(undefined);
  const create = useAction<Schema<'ConfigInput'>, Schema<'Config'>>({
    run: (body) => dataOf(api.client.POST('/api/v1/configs', { body })),
    invalidates: [['configs']],
    done: 'The config is made. Say something to it.',
    onDone({ id }) {
      made.current = id;
    },
  });
  const allowed = me.data?.tenant.limits.providers ?? ['demo'];
  const provider = allowed.includes('demo') ? 'demo' : (allowed.find(isProvider) ?? 'demo');
  const initial = useMemo(
    () =>
      source.data
        ? { ...draftOf(source.data), name: `${source.data.name} (copy)` }
        : { ...newDraft(provider), name: 'assistant' },
    [source.data, provider],
  );
  if (source.error && !source.data) return <ErrorAlert error={source.error} onRetry={source.refetch} />;
  if (me.isLoading || (copy !== undefined && !source.data)) return <Skeleton height={320} />;
  const submit = (input: Schema<'ConfigInput'>): void =>
    create.mutate(input, {
      // Not before the form knows that it is saved, or it would ask whether to leave it.
      onSuccess: () => void navigate({ to: '/playground', search: given({ config: made.current }) }),
    });
  return (
    <ConfigEditor
      initial={initial}
      submit="Make it"
      busy={create.isPending}
      error={create.error}
      isSaved={create.isSuccess}
      onSubmit={submit}
    />
  );
}
