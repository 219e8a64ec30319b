import { Button, Modal, Text } from '@mantine/core';
import { useSessionState, useSessions } from './context.ts';
import { SignInForm } from './SignInForm.tsx';

/** Asks to sign in again over the page, which stays as it is: what was typed into its forms is not lost. */
export function ExpiredDialog() {
  const state = useSessionState();
  const sessions = useSessions();
  return (
    <Modal
      opened={state.status === 'expired'}
      onClose={() => {}}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
      title="Your session has ended"
    >
      <Text mb="md">Sign in again to go on where you were. What you have typed is still there.</Text>
      <SignInForm />
      <Button variant="subtle" fullWidth mt="sm" onClick={() => sessions.load()}>
        Leave instead
      </Button>
    </Modal>
  );
}
