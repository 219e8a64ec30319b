import { expect } from 'chai';
import type { UpstreamRequest } from './upstream.ts';

interface OpenAiMessage {
  role: string;
  content?: string | null;
  tool_calls?: { id: string; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
}

interface AnthropicBlock {
  type: string;
  text?: string;
  id?: string;
  tool_use_id?: string;
}

interface AnthropicMessage {
  role: string;
  content: string | AnthropicBlock[];
}

/** Fails unless a provider would accept the history in this request, by the rules that both vendors publish. */
export function expectValidHistory(request: UpstreamRequest): void {
  if (request.wire === 'openai') expectValidOpenAi(request.body.messages as OpenAiMessage[]);
  else expectValidAnthropic(request.body.messages as AnthropicMessage[]);
}

function expectValidOpenAi(messages: OpenAiMessage[]): void {
  let open: string[] = [];
  messages.forEach((message, index) => {
    if (message.role === 'tool') {
      expect(open, 'a tool message answers an open call').to.include(message.tool_call_id);
      expect(message.content).to.be.a('string');
      open = open.filter((id) => id !== message.tool_call_id);
      return;
    }
    expect(open, 'every call is answered before anything else is said').to.deep.equal([]);
    if (message.role === 'system') expect(index, 'the system prompt comes first').to.equal(0);
    if (message.role === 'user') expect(message.content).to.be.a('string').and.not.equal('');
    if (message.role === 'assistant') {
      open = message.tool_calls?.map(({ id }) => id) ?? [];
      expect(new Set(open).size).to.equal(open.length);
      for (const call of message.tool_calls ?? [])
        expect(JSON.parse(call.function.arguments)).to.be.an('object');
      if (open.length === 0) expect(message.content).to.be.a('string');
    }
  });
  expect(open).to.deep.equal([]);
  expect(messages.at(-1)?.role).to.be.oneOf(['user', 'tool']);
}

function expectValidAnthropic(messages: AnthropicMessage[]): void {
  const blocksOf = ({ content }: AnthropicMessage): AnthropicBlock[] =>
    typeof content === 'string' ? [{ type: 'text', text: content }] : content;
  let open: (string | undefined)[] = [];
  messages.forEach((message, index) => {
    expect(message.role, 'roles take turns, the user first').to.equal(index % 2 === 0 ? 'user' : 'assistant');
    const blocks = blocksOf(message);
    expect(blocks).not.to.have.length(0);
    for (const { type, text } of blocks)
      if (type === 'text') expect(text?.trim(), 'no empty text').not.to.equal('');
    if (message.role === 'user') {
      const results = blocks.filter(({ type }) => type === 'tool_result').map((block) => block.tool_use_id);
      expect(results, 'a user message answers exactly the open calls').to.have.members(open);
      expect(results).to.have.length(open.length);
      const kinds = blocks.map(({ type }) => type);
      expect(kinds.lastIndexOf('tool_result') + 1, 'results come first').to.equal(results.length);
    }
    open = blocks.filter(({ type }) => type === 'tool_use').map(({ id }) => id);
  });
  expect(open).to.deep.equal([]);
  expect(messages.at(-1)?.role).to.equal('user');
}

/**
 * The texts that a request carries, with their speakers, tool results included: equal for both wire formats, so
 * without the mark that a failed tool's result gets on one of them.
 */
export function saidIn(request: UpstreamRequest): string[] {
  if (request.wire === 'openai') {
    return (request.body.messages as OpenAiMessage[])
      .filter(({ role, content }) => role !== 'system' && typeof content === 'string' && content !== '')
      .map(({ role, content }) => `${role}: ${content?.replace(/^Error: /, '')}`);
  }
  return (request.body.messages as AnthropicMessage[]).flatMap(({ role, content }) =>
    typeof content === 'string'
      ? [`${role}: ${content}`]
      : content.flatMap((block) => {
          if (block.type === 'text') return [`${role}: ${block.text}`];
          if (block.type !== 'tool_result') return [];
          return [`tool: ${'content' in block ? String(block.content) : ''}`];
        }),
  );
}
