import { Center, Paper, Text, Title } from '@mantine/core';
import { Logo } from '../layout/Logo.tsx';
import { usePageTitle } from '../shared/PageHeader.tsx';
import { SignInForm } from './SignInForm.tsx';

/** Stands in the place of whichever page was asked for, so that its address is there again afterwards. */
export function SignInPage() {
  usePageTitle('Sign in');
  return (
    <Center component="main" mih="100dvh" p="md">
      <Paper withBorder shadow="sm" radius="md" p="xl" w="100%" maw={440}>
        <Logo />
        <Title order={1} size="h2" mt="lg">
          Sign in
        </Title>
        <Text c="dimmed" mt={4} mb="lg">
          The first start of the server printed an admin token, and an API key of its demo tenant.
        </Text>
        <SignInForm />
      </Paper>
    </Center>
  );
}
