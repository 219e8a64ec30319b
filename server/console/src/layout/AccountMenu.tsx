import { Button, Menu } from '@mantine/core';
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
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        <Button variant="default" maw={180} aria-label={`Signed in as ${session.name}`}>
          {session.name}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {session.kind === 'operator'
            ? `Admin token, ${session.role}`
            : `API key: ${session.scopes.join(', ')}`}
        </Menu.Label>
        <Menu.Item onClick={signOut(false)}>Sign out</Menu.Item>
        <Menu.Item onClick={signOut(true)}>Sign out everywhere</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
