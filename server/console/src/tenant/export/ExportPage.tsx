import { Button, Code, Group, Paper, Stack, Text } from '@mantine/core';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { NoScope } from '../NoScope.tsx';
import { useMay } from '../scopes.ts';

/** The way out: everything of the tenant as one file. */
export function ExportPage() {
  return (
    <>
      <PageHeader title="Export" description="Your data is yours: take it with you as one file." />
      {useMay('manage') ? <Export /> : <NoScope scope="manage" />}
    </>
  );
}

function Export() {
  return (
    <Paper withBorder p="lg">
      <Stack>
        <Text>
          The file is an SQLite database with your configs and all their versions, your conversations and your
          logs, as they are at this moment. Any SQLite tool reads it, and another server of this kind imports
          it. Keys are not in it.
        </Text>
        <Group>
          <Button component="a" href="/api/v1/export" download>
            Download it
          </Button>
        </Group>
        <div>
          <Text size="sm" c="dimmed" mb={4}>
            The same from a program, with a key that may manage:
          </Text>
          <Code block tabIndex={0} aria-label="The export as curl" style={{ whiteSpace: 'pre-wrap' }}>
            {`curl -sS -OJ -H "X-API-Key: $NIMBLESITE_API_KEY" ${location.origin}/api/v1/export`}
          </Code>
        </div>
      </Stack>
    </Paper>
  );
}
