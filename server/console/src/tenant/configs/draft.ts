import type { Schema } from '../../api/client.ts';
import { isProvider, type Provider } from '../../shared/providers.ts';
import { objectSchemaFault, parseJsonObject } from './json-schema.ts';

type Config = Schema<'Config'>;
type Tool = Config['tools_config'][number];

/** A tool as it is typed in. Without description and schema it is a bare name. */
export interface ToolDraft {
  /** The page's own, so that what is typed stays with its tool. */
  key: number;
  name: string;
  description: string;
  /** JSON. */
  parameters: string;
}

/** A config as it is typed in; an empty figure is left to the provider. */
export interface ConfigDraft {
  name: string;
  systemPrompt: string;
  provider: Provider;
  model: string;
  temperature: number | '';
  topP: number | '';
  maxTokens: number | '';
  /** JSON of the parameters that have no field. */
  others: string;
  tools: ToolDraft[];
}

const PRETTY_SPACES = 2;
const pretty = (value: object): string => JSON.stringify(value, null, PRETTY_SPACES);
const figure = (value: unknown): number | '' => (typeof value === 'number' ? value : '');

const toolDraft = (tool: Tool, key: number): ToolDraft =>
  typeof tool === 'string'
    ? { key, name: tool, description: '', parameters: '' }
    : {
        key,
        name: tool.name,
        description: tool.description ?? '',
        parameters: tool.parameters ? pretty(tool.parameters) : '',
      };

export const newDraft = (provider: Provider): ConfigDraft => ({
  name: '',
  systemPrompt: 'You are {agent_name}, the assistant of {tenant_name}. Today is {date}.',
  provider,
  model: provider === 'demo' ? 'demo' : '',
  temperature: '',
  topP: '',
  maxTokens: '',
  others: '',
  tools: [],
});

export function draftOf(config: Config): ConfigDraft {
  const { provider, model, temperature, top_p, max_tokens, ...others } = config.model_config;
  return {
    name: config.name,
    systemPrompt: config.system_prompt,
    provider: typeof provider === 'string' && isProvider(provider) ? provider : 'demo',
    model: String(model),
    temperature: figure(temperature),
    topP: figure(top_p),
    maxTokens: figure(max_tokens),
    others: Object.keys(others).length === 0 ? '' : pretty(others),
    tools: config.tools_config.map(toolDraft),
  };
}

const toolOf = ({ name, description, parameters }: ToolDraft): Schema<'ToolsConfig'>[number] =>
  description === '' && parameters.trim() === ''
    ? name
    : {
        name,
        ...(description !== '' && { description }),
        ...(parameters.trim() !== '' && { parameters: parseJsonObject(parameters) }),
      };

/** What the API takes. @throws for a draft that has faults */
export function inputOf(draft: ConfigDraft): Schema<'ConfigInput'> {
  const { provider, model, temperature, topP, maxTokens } = draft;
  return {
    name: draft.name.trim(),
    system_prompt: draft.systemPrompt,
    model_config: {
      ...(draft.others.trim() !== '' && parseJsonObject(draft.others)),
      provider,
      model: model.trim(),
      ...(temperature !== '' && { temperature }),
      ...(topP !== '' && { top_p: topP }),
      ...(maxTokens !== '' && { max_tokens: maxTokens }),
    },
    tools_config: draft.tools.map(toolOf),
  };
}

/** The API's name of a field, such as `tools_config.0.name`, and what is wrong with it. */
export type Faults = Record<string, string>;

const TOOL_NAME = /^[A-Za-z0-9_-]{1,64}$/;

const jsonFault = (text: string): string | undefined => {
  try {
    parseJsonObject(text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};

/** What the page can tell before it asks the server, which has the last word. */
export function faultsOf(draft: ConfigDraft): Faults {
  const faults: Faults = {};
  const { others, tools } = draft;
  const othersFault = others.trim() === '' ? undefined : jsonFault(others);
  if (othersFault) faults.model_config = othersFault;
  tools.forEach(({ name, parameters }, index) => {
    const path = `tools_config.${index}`;
    if (!TOOL_NAME.test(name)) faults[`${path}.name`] = 'must be 1 to 64 letters, digits, "_" or "-"';
    else if (tools.findIndex((tool) => tool.name === name) < index) {
      faults[`${path}.name`] = 'must not be the name of another tool';
    }
    if (parameters.trim() === '') return;
    const fault = jsonFault(parameters) ?? objectSchemaFault(parseJsonObject(parameters));
    if (fault) faults[`${path}.parameters`] = fault;
  });
  return faults;
}
