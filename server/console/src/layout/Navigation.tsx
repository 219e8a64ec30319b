import { NavLink, Stack, Text } from '@mantine/core';
import { Link, useMatchRoute } from '@tanstack/react-router';
import { operatorPages } from '../operator/pages.ts';
import { useSession } from '../session/context.ts';
import { tenantPages } from '../tenant/pages.ts';
import classes from './Navigation.module.css';

type PagePath = (typeof operatorPages | typeof tenantPages)[number]['to'];

/** The pages of who is signed in. */
export function Navigation() {
  const session = useSession();
  const matches = useMatchRoute();
  const pages: readonly { label: string; to: PagePath }[] =
    session.kind === 'operator' ? operatorPages : tenantPages;
  return (
    <Stack gap={4}>
      <Text size="sm" c="dimmed" px="sm" py={4} truncate>
        {session.kind === 'tenant' ? session.tenant.name : 'This server'}
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
            className={classes.link}
            {...(isHere && { 'aria-current': 'page' as const })}
          />
        );
      })}
    </Stack>
  );
}
