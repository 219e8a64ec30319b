/** Names that the server fills in itself. */
export const BUILT_IN_VARIABLES: readonly string[] = ['tenant_name', 'agent_name', 'date'];

const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/** A piece of a template: text as it is, or a placeholder with the name in it. */
export interface TemplatePart {
  /** Where it begins, in characters. */
  at: number;
  text: string;
  /** Null for text. */
  variable: string | null;
}

/** A template cut at its placeholders. */
export function partsOf(template: string): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let end = 0;
  const addText = (until: number): void => {
    if (until > end) parts.push({ at: end, text: template.slice(end, until), variable: null });
  };
  for (const match of template.matchAll(PLACEHOLDER)) {
    addText(match.index);
    parts.push({ at: match.index, text: match[0], variable: match[1] ?? null });
    end = match.index + match[0].length;
  }
  addText(template.length);
  return parts;
}

/** The names that a template asks for and the server does not know itself, each once. */
export function customVariablesOf(template: string): string[] {
  const names = partsOf(template).flatMap(({ variable }) => variable ?? []);
  return [...new Set(names)].filter((name) => !BUILT_IN_VARIABLES.includes(name));
}
