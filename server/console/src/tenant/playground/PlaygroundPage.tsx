import { Button, Group, Paper, Skeleton, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { useApi } from '../../session/context.ts';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { ButtonLink } from '../../shared/links.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { given } from '../../shared/search.ts';
import { ConfigSelect } from '../ConfigSelect.tsx';
import { NoScope } from '../NoScope.tsx';
import { configsQuery, readConversation } from '../queries.ts';
import { useMay } from '../scopes.ts';
import { Thread } from './Thread.tsx';

const route = getRouteApi('/tenant/playground');

/** Talks to a config, as a program would. */
export function PlaygroundPage() {
  const mayChat = useMay('chat');
  const mayRead = useMay('read');
  return (
    <>
      <PageHeader
        title="Playground"
        description="Talk to one of your agents; every turn is a call of the API."
      />
      {!mayChat ? <NoScope scope="chat" /> : !mayRead ? <NoScope scope="read" /> : <Playground />}
    </>
  );
}

/** What is shown: it stays the same while a conversation that began here gets an address. */
interface Shown {
  /** Another number is another thread. */
  thread: number;
  /** What the thread continues. */
  base: string | undefined;
  /** What the address said last. */
  address: string | undefined;
  /** What the thread has become. */
  conversation: string | undefined;
}

function Playground() {
  const api = useApi();
  const { config: chosen, conversation: address } = route.useSearch();
  const navigate = route.useNavigate();
  const [shown, setShown] = useState<Shown>({ thread: 0, base: address, address, conversation: address });
  if (address !== shown.address) {
    const isOther = address !== shown.conversation;
    setShown({
      thread: shown.thread + (isOther ? 1 : 0),
      base: isOther ? address : shown.base,
      address,
      conversation: address,
    });
  }
  const configs = useQuery(configsQuery(api));
  const base = useQuery({
    // Read anew for each thread and then left alone: what is said from there on is in the thread already.
    queryKey: ['playground', shown.base, shown.thread],
    queryFn: ({ signal }) => readConversation(api, shown.base ?? '', signal),
    enabled: shown.base !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });

  // One that fails to be read again is no reason to drop what was said, or is about to be.
  const failed = [configs, base].find((query) => query.error && query.data === undefined);
  if (failed) {
    return (
      <Stack align="flex-start">
        <ErrorAlert error={failed.error} onRetry={() => void failed.refetch()} />
        {failed === base && (
          <ButtonLink to="/playground" variant="default">
            Begin a new conversation
          </ButtonLink>
        )}
      </Stack>
    );
  }
  if (!configs.data || (shown.base !== undefined && !base.data)) return <Skeleton height={240} />;
  if (configs.data.length === 0) return <FirstSteps />;

  const wanted = base.data?.config_id ?? chosen;
  const config = configs.data.find(({ id }) => id === wanted) ?? (wanted ? undefined : configs.data[0]);
  const begin = (id: string | undefined) => {
    // With an address of its own, the conversation ends with that.
    if (address === undefined) {
      setShown((before) => ({
        ...before,
        thread: before.thread + 1,
        base: undefined,
        conversation: undefined,
      }));
    }
    void navigate({ search: given({ config: id }) });
  };
  const begun = (id: string): void => {
    setShown((before) => ({ ...before, conversation: id }));
    const search = given({ config: config?.id, conversation: id });
    void navigate({ search, replace: true, resetScroll: false });
  };
  return (
    <Stack>
      <Group align="flex-end" gap="sm">
        <ConfigSelect label="Config" value={config?.id} onChange={begin} />
        <Button variant="default" onClick={() => begin(config?.id)}>
          New conversation
        </Button>
        {config && (
          <ButtonLink variant="default" to="/configs/$configId" params={{ configId: config.id }}>
            Edit config
          </ButtonLink>
        )}
      </Group>
      {config ? (
        <Thread
          key={`${config.id} ${shown.thread}`}
          config={config}
          conversation={shown.base === undefined ? null : (base.data ?? null)}
          onBegun={begun}
        />
      ) : (
        <Paper withBorder>
          <EmptyState title="This config is gone">
            Its conversations can be read under “Conversations”, but not continued. Choose another config.
          </EmptyState>
        </Paper>
      )}
    </Stack>
  );
}

function FirstSteps() {
  const mayManage = useMay('manage');
  return (
    <Paper withBorder>
      <EmptyState
        title="Make your first agent"
        action={mayManage && <ButtonLink to="/configs/new">Make a config</ButtonLink>}
      >
        A config says which model answers, with which prompt and tools. The demo provider needs no key: make a
        config and you are back here, talking to it.
      </EmptyState>
    </Paper>
  );
}
