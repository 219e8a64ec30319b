import { expect } from 'chai';
import fc from 'fast-check';
import type { ToolCall, TurnInput } from '../../../tenant-schema/store.ts';
import { CANCELLED_CONTENT } from '../../../tenant-schema/tool-calls.ts';
import { type AgentWorld, begin, startAgent, type TestTenant } from '../../support/agents.ts';
import { faultOf } from '../../support/faults.ts';
import { expectValidHistory, saidIn } from '../../support/histories.ts';
import type { Answer } from '../../support/upstream.ts';

/** What a conversation should hold: the least that predicts all that can be seen of it. */
interface ModelConversation {
  tenant: number;
  id: string;
  /** `role: content`, in order; calls without text are `assistant: null`. */
  said: string[];
  openCalls: ToolCall[];
}

/** How the scripted model takes a turn. */
type Outcome =
  | 'text'
  | 'calls'
  | 'text and calls'
  | 'fails'
  | 'is cut off'
  | 'client leaves'
  | 'client leaves at once';

interface Step {
  tenant: number;
  /** Which of the tenant's conversations; too large a number begins a new one. */
  conversation: number;
  input: 'message' | 'cancelling message' | 'results' | 'too few results' | 'foreign results';
  outcome: Outcome;
  calls: number;
  /** A second turn on the same conversation at the same time. */
  rival: boolean;
}

const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  tenant: fc.nat({ max: 3 }),
  conversation: fc.nat({ max: 2 }),
  input: fc.constantFrom(
    'message',
    'message',
    'cancelling message',
    'results',
    'results',
    'too few results',
    'foreign results',
  ),
  outcome: fc.constantFrom<Outcome>(
    'text',
    'text',
    'calls',
    'text and calls',
    'fails',
    'is cut off',
    'client leaves',
    'client leaves at once',
  ),
  calls: fc.integer({ min: 1, max: 3 }),
  rival: fc.boolean(),
});

const TENANTS = 4;
const firstPage = { limit: 100, cursor: null };

describe('conversations under random sequences of turns', () => {
  let world: AgentWorld;
  /** What the model of each tenant says next; the model's name tells whose turn a request belongs to. */
  const scripted = new Map<string, Answer>();
  before(async () => {
    world = await startAgent();
    world.upstream.respond((request) => scripted.get(String(request.body.model)) ?? { status: 500 });
  });
  after(() => world.stop());

  it('hold exactly what a simple model says, and always send a history that the provider accepts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(stepArbitrary, { minLength: 1, maxLength: 20 }), async (steps) => {
        const tenants = await Promise.all(
          Array.from({ length: TENANTS }, (_, index) =>
            world.tenant({
              modelConfig: { provider: index % 2 === 0 ? 'openai' : 'anthropic', model: `model-${index}` },
              toolsConfig: ['tool'],
            }),
          ),
        );
        const model: ModelConversation[] = [];
        // Each tenant takes its steps in order, all tenants at the same time.
        await Promise.all(
          tenants.map(async (tenant, index) => {
            for (const [number, step] of steps.entries()) {
              if (step.tenant === index) await takeStep(tenant, step, number, model);
            }
          }),
        );
        await expectToHold(tenants, model);
      }),
      { numRuns: 60 },
    );
  });

  async function takeStep(tenant: TestTenant, step: Step, number: number, model: ModelConversation[]) {
    const conversation = model.filter((one) => one.tenant === step.tenant)[step.conversation];
    const input = toInput(step, number, conversation);
    const request = tenant.request(input, { conversationId: conversation?.id ?? null });
    const refusal = expectedRefusal(input, step, conversation);
    if (refusal !== null) {
      expect((await faultOf(() => world.agent.begin(request))).code).to.equal(refusal);
      return;
    }

    const modelName = `model-${step.tenant}`;
    scripted.set(modelName, toAnswer(step, number));
    const sentBefore = world.upstream.requests.length;
    const client = new AbortController();
    if (step.outcome === 'client leaves at once') client.abort();
    const turn = await begin(world.agent, request);
    if (step.rival) {
      const rival = tenant.request('rival', { conversationId: turn.conversationId });
      expect((await faultOf(() => world.agent.begin(rival))).code).to.equal('conversation_busy');
    }
    const result = turn.run(client.signal, () => {
      if (step.outcome === 'client leaves') client.abort();
    });
    const said = [...(conversation?.said ?? []), ...inputSaid(input, conversation)];
    const stays = (text: string | null, openCalls: ToolCall[]): void => {
      said.push(`assistant: ${text}`);
      if (conversation) Object.assign(conversation, { said, openCalls });
      else model.push({ tenant: step.tenant, id: turn.conversationId, said, openCalls });
    };

    if (step.outcome === 'client leaves at once') {
      expect((await faultOf(() => result)).code).to.equal('client_closed_request');
      return;
    }
    if (step.outcome === 'fails' || step.outcome === 'is cut off') {
      expect((await faultOf(() => result)).code).to.match(/^upstream_/);
    } else if (step.outcome === 'client leaves') {
      expect((await faultOf(() => result)).code).to.equal('client_closed_request');
    } else {
      const answer = await result;
      expect(answer.toolCalls).to.have.length(step.outcome === 'text' ? 0 : step.calls);
    }
    const sent = world.upstream.requests.slice(sentBefore).find(({ body }) => body.model === modelName);
    if (!sent) throw new Error('the model was not asked');
    expectValidHistory(sent);
    expect(saidIn(sent)).to.deep.equal(said.filter((line) => line !== 'assistant: null'));

    if (step.outcome === 'client leaves') stays(`reply ${number} `, []);
    if (step.outcome === 'text') stays(`reply ${number} end`, []);
    if (step.outcome === 'calls') stays(null, (await result).toolCalls);
    if (step.outcome === 'text and calls') stays(`reply ${number} end`, (await result).toolCalls);
  }

  async function expectToHold(tenants: TestTenant[], model: ModelConversation[]) {
    for (const [index, { identity }] of tenants.entries()) {
      const expected = model.filter(({ tenant }) => tenant === index);
      await world.tenants.engine.use(identity.tenant.id, (store) => {
        const listed = store.listConversations({}, firstPage).data;
        expect(listed.map(({ id }) => id).sort()).to.deep.equal(expected.map(({ id }) => id).sort());
        for (const { id, said, openCalls } of expected) {
          const conversation = store.getConversation(id);
          expect(conversation.status).to.equal(openCalls.length > 0 ? 'awaiting_tools' : 'idle');
          expect(conversation.messageCount).to.equal(said.length);
          const messages = store.listMessages(id, firstPage).data.toReversed();
          expect(messages.map(({ role, content }) => `${role}: ${content}`)).to.deep.equal(said);
          expect(openCalls).to.deep.equal(openCalls.length > 0 ? messages.at(-1)?.toolCalls : []);
        }
      });
    }
  }
});

function toInput(step: Step, number: number, conversation: ModelConversation | undefined): TurnInput {
  if (step.input === 'message' || step.input === 'cancelling message') {
    return {
      kind: 'message',
      text: `message ${number}`,
      cancelToolCalls: step.input === 'cancelling message',
    };
  }
  const results = (conversation?.openCalls ?? []).map(({ id }, index) => ({
    toolCallId: id,
    content: `result ${number}.${index}`,
    isError: index === 1,
  }));
  if (step.input === 'too few results') results.pop();
  if (step.input === 'foreign results') results.push({ toolCallId: 'foreign', content: '', isError: false });
  return { kind: 'tool_results', results };
}

function expectedRefusal(
  input: TurnInput,
  step: Step,
  conversation: ModelConversation | undefined,
): string | null {
  const open = conversation?.openCalls.length ?? 0;
  if (input.kind === 'message') return open > 0 && !input.cancelToolCalls ? 'tool_results_pending' : null;
  return step.input === 'results' && open > 0 ? null : 'validation_failed';
}

function inputSaid(input: TurnInput, conversation: ModelConversation | undefined): string[] {
  if (input.kind === 'tool_results') return input.results.map(({ content }) => `tool: ${content}`);
  return [...(conversation?.openCalls ?? []).map(() => `tool: ${CANCELLED_CONTENT}`), `user: ${input.text}`];
}

function toAnswer(step: Step, number: number): Answer {
  const text = [`reply ${number} `, 'end'];
  // One id again and again: the turn has to make them unique.
  const toolCalls = Array.from({ length: step.calls }, () => ({ name: 'tool', id: 'same' }));
  switch (step.outcome) {
    case 'calls':
      return { toolCalls };
    case 'text and calls':
      return { text, toolCalls };
    case 'fails':
      return { status: 500 };
    case 'is cut off':
      return { text, closeAfter: 1 };
    case 'client leaves':
      return { text, hangAfter: 1 };
    default:
      return { text };
  }
}
