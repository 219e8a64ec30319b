import { Textarea, type TextareaProps } from '@mantine/core';

const MONO = { input: { fontFamily: 'var(--mantine-font-family-monospace)' } };

/** A field for JSON. */
export function JsonField(props: TextareaProps) {
  return <Textarea autosize maxRows={24} spellCheck={false} styles={MONO} {...props} />;
}
