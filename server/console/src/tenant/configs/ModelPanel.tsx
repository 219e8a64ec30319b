import { NativeSelect, NumberInput, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useApi } from '../../session/context.ts';
import { isProvider, PROVIDERS, type Provider } from '../../shared/providers.ts';
import { meQuery } from '../queries.ts';
import type { ConfigDraft, Faults } from './draft.ts';
import { JsonField } from './JsonField.tsx';

export interface PanelProps {
  draft: ConfigDraft;
  onChange: (change: Partial<ConfigDraft>) => void;
  faults: Faults;
  readOnly: boolean;
}

/** What a model is called there. */
const EXAMPLES: Partial<Record<Provider, string>> = {
  openai: 'such as gpt-5-mini',
  anthropic: 'such as claude-sonnet-4-6',
  ollama: 'such as llama3.2',
};

const FIGURES = [
  { name: 'temperature', label: 'Temperature', path: 'temperature', max: 2, step: 0.1, decimals: 2 },
  { name: 'topP', label: 'Top p', path: 'top_p', max: 1, step: 0.05, decimals: 3 },
  { name: 'maxTokens', label: 'Longest answer, tokens', path: 'max_tokens', step: 256, decimals: 0 },
] as const;

const asFigure = (value: number | string): number | '' => (value === '' ? '' : Number(value));

/** Which model answers, and how it is asked. */
export function ModelPanel({ draft, onChange, faults, readOnly }: PanelProps) {
  const me = useQuery(meQuery(useApi()));
  const allowed = me.data?.tenant.limits.providers ?? PROVIDERS;
  const choices = PROVIDERS.filter((name) => allowed.includes(name) || name === draft.provider);
  const choose = (provider: Provider): void => {
    // No provider but it has a model of this name; any other may be one that is typed for the provider chosen next.
    const model = provider === 'demo' ? 'demo' : draft.model === 'demo' ? '' : draft.model;
    onChange({ provider, model });
  };
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <NativeSelect
          label="Provider"
          description={
            draft.provider === 'demo' ? 'It needs no key and costs nothing.' : 'Keys for it: see “Keys”.'
          }
          data={choices}
          disabled={readOnly}
          error={faults['model_config.provider']}
          value={draft.provider}
          onChange={({ currentTarget: { value } }) => isProvider(value) && choose(value)}
        />
        <TextInput
          label="Model"
          description="As the provider calls it."
          placeholder={EXAMPLES[draft.provider]}
          required
          maxLength={200}
          autoComplete="off"
          readOnly={readOnly}
          error={faults['model_config.model']}
          value={draft.model}
          onChange={({ currentTarget }) => onChange({ model: currentTarget.value })}
        />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, sm: 3 }}>
        {FIGURES.map(({ name, label, path, decimals, step, ...bounds }) => (
          <NumberInput
            key={name}
            label={label}
            placeholder="The provider's default"
            min={decimals === 0 ? 1 : 0}
            {...bounds}
            step={step}
            decimalScale={decimals}
            readOnly={readOnly}
            error={faults[`model_config.${path}`]}
            value={draft[name]}
            onChange={(value) => onChange({ [name]: asFigure(value) })}
          />
        ))}
      </SimpleGrid>
      <JsonField
        label="Other parameters"
        description='JSON; they go to the provider unchanged, as in {"reasoning_effort": "low"}.'
        minRows={1}
        readOnly={readOnly}
        error={faults.model_config}
        value={draft.others}
        onChange={({ currentTarget }) => onChange({ others: currentTarget.value })}
      />
    </Stack>
  );
}
