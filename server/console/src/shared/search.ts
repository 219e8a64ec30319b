/** Readers for what stands in an address; whatever somebody else wrote there is no error but absent. */

export const textParam = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

export const oneOf = <Choice extends string>(
  choices: readonly Choice[],
  value: unknown,
): Choice | undefined => choices.find((choice) => choice === value);

/** Without the members that are undefined: an address, or a query, has only what is set. */
export const given = <T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined && item !== '')) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };

/** What may be set anew of an address; undefined takes it away. */
export type Change<Search> = { [K in keyof Search]?: Search[K] | undefined };
