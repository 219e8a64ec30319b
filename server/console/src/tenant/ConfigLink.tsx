import { Text, Tooltip } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useApi } from '../session/context.ts';
import { TextLink } from '../shared/links.tsx';
import { configsQuery } from './queries.ts';

export interface ConfigLinkProps {
  id: string;
  /** Within a line of text, where colour alone does not tell a link. */
  isInText?: boolean;
}

/** A config by its name; by the end of its id where it is deleted. */
export function ConfigLink({ id, isInText = false }: ConfigLinkProps) {
  const configs = useQuery(configsQuery(useApi()));
  const name = configs.data?.find((config) => config.id === id)?.name;
  if (configs.data && name === undefined) {
    return (
      <Tooltip label={`The config ${id} is deleted`}>
        <Text span inherit c="dimmed">
          …{id.slice(-12)}
        </Text>
      </Tooltip>
    );
  }
  return (
    <TextLink
      to="/configs/$configId"
      params={{ configId: id }}
      preload={false}
      underline={isInText ? 'always' : 'hover'}
    >
      {name ?? `…${id.slice(-12)}`}
    </TextLink>
  );
}
