import { Group, Text, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';

/** Names the page in the browser's tab. */
export function usePageTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Nimblesite`;
  }, [title]);
}

export interface PageHeaderProps {
  title: string;
  /** Beside the title: a status. */
  badge?: ReactNode;
  description?: ReactNode;
  actions?: ReactNode;
}

/** The one first-level heading of a page, and what can be done with the page as a whole. */
export function PageHeader({ title, badge, description, actions }: PageHeaderProps) {
  usePageTitle(title);
  return (
    <Group justify="space-between" align="flex-start" mb="lg">
      <div>
        <Group gap="sm">
          <Title order={1} size="h2" style={{ overflowWrap: 'anywhere' }}>
            {title}
          </Title>
          {badge}
        </Group>
        {description && (
          <Text c="dimmed" size="sm" mt={4}>
            {description}
          </Text>
        )}
      </div>
      {actions && <Group gap="xs">{actions}</Group>}
    </Group>
  );
}
