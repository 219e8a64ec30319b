import { Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useApi } from '../session/context.ts';
import { configsQuery } from './queries.ts';

export interface ConfigSelectProps {
  label: string;
  value: string | undefined;
  onChange: (id: string | undefined) => void;
  /** Stands for no config at all; without it one must be chosen. */
  all?: string;
}

/** One of the tenant's configs, by name. */
export function ConfigSelect({ label, value, onChange, all }: ConfigSelectProps) {
  const configs = useQuery(configsQuery(useApi()));
  const data = configs.data?.map(({ id, name }) => ({ value: id, label: name })) ?? [];
  // What an address names may be deleted by now; its conversations and logs are still there.
  const isUnknown = value !== undefined && !data.some((option) => option.value === value);
  return (
    <Select
      label={label}
      placeholder={all ?? 'Choose a config'}
      searchable
      nothingFoundMessage="No config has that in its name"
      clearable={all !== undefined}
      allowDeselect={all !== undefined}
      clearButtonProps={{ 'aria-label': `Clear ${label.toLowerCase()}` }}
      data={isUnknown ? [...data, { value, label: `…${value.slice(-12)}` }] : data}
      value={value ?? null}
      onChange={(id) => onChange(id ?? undefined)}
    />
  );
}
