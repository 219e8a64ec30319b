import { SimpleGrid, TextInput } from '@mantine/core';

export interface RequestFields {
  user: string;
  variables: Record<string, string>;
}

export interface RequestFormProps {
  /** The names that the config's prompt asks for. */
  names: readonly string[];
  value: RequestFields;
  onChange: (value: RequestFields) => void;
}

/** What goes with each message: the values of the prompt's own variables, and who asks. */
export function RequestForm({ names, value, onChange }: RequestFormProps) {
  return (
    <SimpleGrid cols={{ base: 1, sm: 2, md: 3 }}>
      {names.map((name) => (
        <TextInput
          key={name}
          label={`{${name}}`}
          placeholder="Stays as it is written"
          value={value.variables[name] ?? ''}
          onChange={({ currentTarget: { value: text } }) =>
            onChange({ ...value, variables: { ...value.variables, [name]: text } })
          }
        />
      ))}
      <TextInput
        label="User"
        placeholder="Optional: your own name for who asks"
        maxLength={200}
        value={value.user}
        onChange={({ currentTarget: { value: user } }) => onChange({ ...value, user })}
      />
    </SimpleGrid>
  );
}
