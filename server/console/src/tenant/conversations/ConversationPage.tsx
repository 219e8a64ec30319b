import { Group, Skeleton, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatCount } from '../../shared/format.ts';
import { ButtonLink } from '../../shared/links.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatusBadge } from '../../shared/StatusBadge.tsx';
import { TimeText } from '../../shared/TimeText.tsx';
import { ConfigLink } from '../ConfigLink.tsx';
import { History } from '../chat/History.tsx';
import { NoScope } from '../NoScope.tsx';
import { configsQuery, conversationQuery } from '../queries.ts';
import { useMay } from '../scopes.ts';
import { DeleteButton, RenameButton } from './actions.tsx';

const route = getRouteApi('/tenant/conversations/$conversationId');

/** One conversation, to its beginning. */
export function ConversationPage() {
  const { conversationId } = route.useParams();
  const mayRead = useMay('read');
  const { data, error, refetch } = useQuery({
    ...conversationQuery(useApi(), conversationId),
    enabled: mayRead,
  });
  if (data) return <Page conversation={data} />;
  return (
    <>
      <PageHeader title="Conversation" />
      {!mayRead ? (
        <NoScope scope="read" />
      ) : error ? (
        <ErrorAlert error={error} onRetry={refetch} />
      ) : (
        <Skeleton height={320} />
      )}
    </>
  );
}

function Page({ conversation }: { conversation: Schema<'ConversationDetail'> }) {
  const { id, title, config_id, user, status, message_count, created_at } = conversation;
  const configs = useQuery(configsQuery(useApi()));
  const mayChat = useMay('chat');
  const mayManage = useMay('manage');
  const hasConfig = configs.data?.some((config) => config.id === config_id) ?? false;
  return (
    <>
      <PageHeader
        title={title || 'Conversation'}
        badge={<StatusBadge status={status} />}
        description={
          <>
            <ConfigLink id={config_id} isInText /> · {formatCount(message_count)} messages · begun{' '}
            <TimeText at={created_at} />
            {user !== null && ` · user ${user}`}
          </>
        }
        actions={
          <>
            {mayChat && hasConfig && (
              <ButtonLink to="/playground" search={{ conversation: id }} preload={false}>
                Continue
              </ButtonLink>
            )}
            <ButtonLink to="/logs" search={{ conversation: id }} variant="default" preload={false}>
              Logs
            </ButtonLink>
            {mayManage && <RenameButton conversation={conversation} />}
            {mayManage && <DeleteButton conversation={conversation} />}
          </>
        }
      />
      <Stack gap="sm">
        <History conversation={conversation} />
      </Stack>
      {configs.data && !hasConfig && (
        <Group mt="md">
          <Text c="dimmed" size="sm">
            Its config is deleted: it can be read, not continued.
          </Text>
        </Group>
      )}
    </>
  );
}
