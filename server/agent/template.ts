/** Names that the server fills in itself; a request may not give them. */
export const BUILT_IN_VARIABLES = ['tenant_name', 'agent_name', 'date'] as const;

const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/**
 * Fills `{name}` from `values` in one pass: braces inside a value are text, and a name that nobody gave stays
 * as it is written.
 */
export const renderTemplate = (template: string, values: Record<string, string>): string =>
  template.replace(PLACEHOLDER, (placeholder, name: string) =>
    Object.hasOwn(values, name) ? (values[name] ?? placeholder) : placeholder,
  );
