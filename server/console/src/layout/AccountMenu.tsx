import { Button, Popover, Stack, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useSession, useSessions } from '../session/context.ts';

/** Who is signed in, and the way out. */
export function AccountMenu() {
  const session = useSession();
  const sessions = useSessions();
  const signOut = (everywhere: boolean) => () =>
    sessions.signOut({ everywhere }).catch((error: Error) => {
      notifications.show({ color: 'red', title: 'Still signed in', message: error.message });
    });
  const may =
    session.kind === 'operator' ? `Admin token, ${session.role}` : `API key: ${session.scopes.join(', ')}`;
  return (
    <Popover position="bottom-end" width={220} shadow="md" trapFocus withinPortal={false}>
      <Popover.Target>
        <Button variant="default" maw={180} aria-label={`Signed in as ${session.name}`}>
          {session.name}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Account">
        <Stack gap="xs">
          <Text size="sm" c="dimmed">
            {may}
          </Text>
          <Button variant="default" onClick={signOut(false)}>
            Sign out
          </Button>
          <Button variant="default" onClick={signOut(true)}>
            Sign out everywhere
          </Button>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
