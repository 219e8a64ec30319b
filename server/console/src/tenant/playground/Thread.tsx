import { Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { given } from '../../shared/search.ts';
import { History, openCallsOf } from '../chat/History.tsx';
import { useMay } from '../scopes.ts';
import { customVariablesOf } from '../template.ts';
import { CodeDialog } from './CodeDialog.tsx';
import { Composer } from './Composer.tsx';
import { type RequestFields, RequestForm } from './RequestForm.tsx';
import { suggestionsFor } from './suggestions.ts';
import { ToolResultsForm } from './ToolResultsForm.tsx';
import { TurnView } from './TurnView.tsx';
import { type ChatBody, conversationAfter, isKept, openCallsAfter, type Turn } from './turn.ts';
import { useTurns } from './useTurns.ts';

const TITLE_CHARS_MAX = 80;

export interface ThreadProps {
  config: Schema<'Config'>;
  /** What is continued; null begins a new one. */
  conversation: Schema<'ConversationDetail'> | null;
  /** Told once of the conversation that began here. */
  onBegun: (conversationId: string) => void;
}

/** A conversation with one config: what was said, and what is said next. */
export function Thread({ config, onBegun, ...props }: ThreadProps) {
  // As it was at first: a later reading would have in it what is shown as turns.
  const [conversation] = useState(props.conversation);
  const api = useApi();
  const queries = useQueryClient();
  const mayManage = useMay('manage');
  const [fields, setFields] = useState<RequestFields>({ user: conversation?.user ?? '', variables: {} });
  const [code, setCode] = useState<ChatBody | null>(null);
  const [isCancelling, setCancelling] = useState(false);
  const hasBegun = useRef(conversation !== null);

  const nameIt = async (id: string, message: string): Promise<void> => {
    const title = message.trim().slice(0, TITLE_CHARS_MAX);
    // A name is a convenience: the conversation is as good without.
    await dataOf(
      api.client.PATCH('/api/v1/conversations/{id}', { params: { path: { id } }, body: { title } }),
    ).catch(() => {});
  };
  const settled = async (turn: Turn): Promise<void> => {
    const { conversationId: id, body } = turn;
    if (isKept(turn) && id !== null && !hasBegun.current) {
      hasBegun.current = true;
      onBegun(id);
      if (mayManage && body.message !== undefined) await nameIt(id, body.message);
    }
    for (const key of ['conversations', 'logs', 'usage', 'limits']) {
      void queries.invalidateQueries({ queryKey: [key] });
    }
  };
  const { turns, isRunning, send, stop } = useTurns(config.id, settled);
  const base = conversation ? openCallsOf(conversation) : [];
  const openCalls = openCallsAfter(turns, base);
  useFollow(turns, conversation !== null);

  const names = customVariablesOf(config.system_prompt);
  const take = (input: Pick<ChatBody, 'message' | 'tool_results' | 'cancel_tool_calls'>, replaces?: Turn) => {
    const variables = Object.entries(fields.variables).filter(
      ([name, value]) => names.includes(name) && value !== '',
    );
    const body = given({
      ...input,
      conversation_id: conversationAfter(turns, conversation?.id ?? null) ?? undefined,
      template_vars: variables.length === 0 ? undefined : Object.fromEntries(variables),
      user: fields.user,
    });
    setCancelling(false);
    void send(body, replaces && { replaces });
  };
  const retry = (turn: Turn) => {
    const { message, tool_results, cancel_tool_calls } = turn.body;
    const input = given({ message, tool_results, cancel_tool_calls });
    return () => take(input, isKept(turn) ? undefined : turn);
  };
  const isAnswered = (turn: Turn): boolean => turn.body.tool_results !== undefined && isKept(turn);
  const calls = [
    ...(conversation?.messages ?? []).flatMap(({ tool_calls }) => tool_calls),
    ...turns.flatMap((turn) => turn.calls),
  ];
  const toolName = (id: string): string => calls.find((call) => call.id === id)?.name ?? id;

  return (
    <Stack>
      <RequestForm names={names} value={fields} onChange={setFields} />
      <Stack role="log" aria-label="Conversation" aria-busy={isRunning} gap="sm">
        {conversation && <History conversation={conversation} />}
        {turns.map((turn, index) => (
          <TurnView
            key={turn.id}
            turn={turn}
            toolName={toolName}
            onShowCode={() => setCode(turn.body)}
            onRetry={
              index === turns.length - 1 && !isRunning && !isAnswered(turn) && !waits(turn)
                ? retry(turn)
                : undefined
            }
          />
        ))}
      </Stack>
      {openCalls.length > 0 && !isRunning && !isCancelling ? (
        <ToolResultsForm
          key={openCalls.map(({ id }) => id).join()}
          calls={openCalls}
          focus={turns.length > 0}
          onSend={(tool_results) => take({ tool_results })}
          onCancel={() => setCancelling(true)}
        />
      ) : (
        <>
          {isCancelling && (
            <Text size="sm" c="dimmed">
              The model is told that its calls were cancelled.
            </Text>
          )}
          <Composer
            isRunning={isRunning}
            focus={turns.length > 0 || isCancelling}
            suggestions={turns.length === 0 && !conversation ? suggestionsFor(config) : []}
            onSend={(message) => take({ message, ...(isCancelling && { cancel_tool_calls: true }) })}
            onStop={stop}
          />
        </>
      )}
      <CodeDialog configId={config.id} body={code} onClose={() => setCode(null)} />
    </Stack>
  );
}

const waits = ({ answer }: Turn): boolean => answer?.finish_reason === 'tool_calls';

/** How far from its end a page still counts as read to its end, in pixels. */
const END_PX = 160;

/** Keeps the newest words in sight, unless the reader has gone back to what was before. */
function useFollow(turns: readonly Turn[], isContinued: boolean): void {
  const count = useRef(0);
  useEffect(() => {
    if (isContinued) window.scrollTo({ top: document.documentElement.scrollHeight });
  }, [isContinued]);
  useEffect(() => {
    const isNew = turns.length > count.current;
    count.current = turns.length;
    if (turns.length === 0) return;
    const { scrollHeight, scrollTop, clientHeight } = document.documentElement;
    if (isNew || scrollHeight - scrollTop - clientHeight < END_PX) {
      window.scrollTo({ top: scrollHeight });
    }
  }, [turns]);
}
