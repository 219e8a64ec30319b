import { NavLink, Stack, Text } from '@mantine/core';
import { Link, useMatchRoute } from '@tanstack/react-router';
import { operatorPages } from '../operator/pages.ts';
import { useSession } from '../session/context.ts';
import { tenantPages } from '../tenant/pages.ts';

/** The pages of who is signed in. */
export function Navigation() {
  const { kind, tenant } = useSession();
  const matches = useMatchRoute();
  const pages = kind === 'operator' ? operatorPages : tenantPages;
  return (
    <Stack gap={4}>
      <Text size="sm" c="dimmed" px="sm" py={4} truncate>
        {tenant?.name ?? 'This server'}
      </Text>
      {pages.map(({ label, to }) => {
        const isHere = matches({ to, fuzzy: true }) !== false;
        return (
          <NavLink
            key={to}
            component={Link}
            to={to}
            label={label}
            active={isHere}
            {...(isHere && { 'aria-current': 'page' as const })}
          />
        );
      })}
    </Stack>
  );
}
