import { invalid } from '../../tenant-schema/fault.ts';

/** Names that the server fills in itself; a request may not give them. */
export const BUILT_IN_VARIABLES: readonly string[] = ['tenant_name', 'agent_name', 'date'];

/** A short template may name a long value thousands of times; what comes out is bounded before it is made. */
const RENDERED_CHARS_MAX = 1024 * 1024;

const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/**
 * Fills `{name}` from `values` in one pass: braces inside a value are text, and a name that nobody gave stays
 * as it is written.
 * @throws `validation_failed` where the result would be too long
 */
export function renderTemplate(template: string, values: Record<string, string>): string {
  const fill = (placeholder: string, name: string): string =>
    Object.hasOwn(values, name) ? (values[name] ?? placeholder) : placeholder;

  let chars = template.length;
  for (const [placeholder, name = ''] of template.matchAll(PLACEHOLDER)) {
    chars += fill(placeholder, name).length - placeholder.length;
  }
  if (chars > RENDERED_CHARS_MAX) {
    throw invalid([
      {
        path: 'template_vars',
        message: `make the system prompt ${chars} characters long; at most ${RENDERED_CHARS_MAX} are allowed`,
      },
    ]);
  }
  return template.replace(PLACEHOLDER, fill);
}
