import { Group, Text } from '@mantine/core';

export function Logo() {
  return (
    <Group gap="xs" wrap="nowrap">
      <img src={`${import.meta.env.BASE_URL}icon.svg`} width={28} height={28} alt="" />
      <Text fw={700} size="lg" span>
        Nimblesite
      </Text>
    </Group>
  );
}
