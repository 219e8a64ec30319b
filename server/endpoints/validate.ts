import type { z } from 'zod';
import { type InputError, invalid } from '../../tenant-schema/fault.ts';
import { NESTING_MAX } from '../../tenant-schema/json.ts';

/**
 * A field of a body has at most so many entries. Checked before a schema looks at each of them: a megabyte of
 * entries would hold up every other request.
 */
const ENTRIES_MAX = 4000;
/** An answer lists at most so many faults, so that a bad megabyte does not come back as ten. */
const ERRORS_MAX = 100;

const LONE_SURROGATE = /\p{Surrogate}/u;

/** What is wrong with a text whatever it is for: databases disagree about such characters. */
function textFault(text: string): string | undefined {
  if (text.includes('\u0000')) return 'must not contain a NUL character';
  if (LONE_SURROGATE.test(text)) return 'must not contain a lone surrogate';
  return undefined;
}

/**
 * Finds what JSON can say and nobody should: see `textFault`, numbers that JavaScript would change, `__proto__`,
 * deep nesting, too many entries. Where `unfit`, no schema should look at the value.
 */
function contentFaults(root: unknown): { errors: InputError[]; unfit: boolean } {
  const errors: InputError[] = [];
  let unfit = false;
  const report = (path: string, message: string) => {
    if (errors.length < ERRORS_MAX) errors.push({ path, message });
  };
  const walk = (value: unknown, path: string, depth: number): void => {
    if (typeof value === 'string') {
      const fault = textFault(value);
      if (fault) report(path, fault);
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) report(path, 'must be a number in the range of a double');
      else if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        report(path, 'must be a whole number of at most 15 digits; send a longer one as text');
      }
    } else if (typeof value === 'object' && value !== null) {
      if (depth === NESTING_MAX) {
        if (!unfit) report(path, `must not be nested deeper than ${NESTING_MAX} levels`);
        unfit = true;
        return;
      }
      const entries = Object.entries(value);
      if (depth <= 1 && entries.length > ENTRIES_MAX) {
        report(path, `must have at most ${ENTRIES_MAX} entries`);
        unfit = true;
        return;
      }
      for (const [key, item] of entries) {
        const fault = key === '__proto__' ? 'must not contain the field "__proto__"' : textFault(key);
        // The name itself is not repeated: it is what cannot be written.
        if (fault) report(path, fault);
        else walk(item, path === '' ? key : `${path}.${key}`, depth + 1);
      }
    }
  };
  walk(root, '', 0);
  return { errors, unfit };
}

/** A name as an answer can hold it, whatever a client has called a field. */
const writable = (path: string): string => path.toWellFormed().replaceAll('\u0000', '\ufffd');

type Issue = z.core.$ZodIssue;

const isWrongKind = (issues: readonly Issue[]): boolean =>
  issues.some((issue) => issue.code === 'invalid_type' && issue.path.length === 0);

/** Turns zod's issues into ours: one for every unknown field, and the right branch of a union unfolded. */
function issueErrors(issues: readonly Issue[], base: readonly PropertyKey[]): InputError[] {
  return issues.flatMap((issue): InputError[] => {
    const path = [...base, ...issue.path];
    const at = (parts: readonly PropertyKey[]) => writable(parts.map(String).join('.'));
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ path: at([...path, key]), message: 'Unknown field' }));
    }
    if (issue.code === 'invalid_union') {
      const [fitting, ...others] = issue.errors.filter((branch) => !isWrongKind(branch));
      if (fitting && others.length === 0) return issueErrors(fitting, path);
    }
    const message =
      issue.code === 'invalid_type' && issue.message.endsWith('received undefined')
        ? 'Required'
        : issue.message;
    return [{ path: at(path), message }];
  });
}

interface Part {
  schema: z.ZodType | null;
  value: unknown;
  /** What was wrong with it before it was a value. */
  errors?: readonly InputError[];
}

function check({ schema, value, errors: known = [] }: Part): { data: unknown; errors: InputError[] } {
  if (schema === null) return { data: undefined, errors: [] };
  const content = contentFaults(value);
  if (content.unfit) return { data: undefined, errors: [...known, ...content.errors] };
  const result = schema.safeParse(value);
  const errors = result.success ? [] : issueErrors(result.error.issues, []);
  return { data: result.data, errors: [...known, ...content.errors, ...errors] };
}

/**
 * Checks both parts of a request's input. A part without a schema is not looked at and gives undefined.
 * @throws `validation_failed` with the faults of both.
 */
export function parseInput(first: Part, second: Part): { first: unknown; second: unknown } {
  const a = check(first);
  const b = check(second);
  const errors = [...a.errors, ...b.errors];
  if (errors.length > 0) throw invalid(errors.slice(0, ERRORS_MAX));
  return { first: a.data, second: b.data };
}

/** Whether the bytes that a pair of a query escapes are UTF-8; a `%` that escapes none stands for itself. */
function isUtf8(pair: string): boolean {
  try {
    decodeURIComponent(pair.replace(/%(?![0-9a-f]{2})/gi, '%25'));
    return true;
  } catch {
    return false;
  }
}

/**
 * A query as an object; a name given twice becomes an array, which no query schema takes. `errors` names what is no
 * text: decoding would silently make other characters of it.
 */
export function readQuery(query: string): { value: Record<string, string | string[]>; errors: InputError[] } {
  const object = new Map<string, string | string[]>();
  for (const [name, value] of new URLSearchParams(query)) {
    const known = object.get(name);
    if (known === undefined) object.set(name, value);
    else if (Array.isArray(known)) known.push(value);
    else object.set(name, [known, value]);
  }
  const unreadable = query.split('&').filter((pair) => !isUtf8(pair));
  const errors = unreadable.flatMap((pair) =>
    [...new URLSearchParams(pair).keys()].map((name) => ({
      path: writable(name),
      message: 'must be text in UTF-8',
    })),
  );
  return { value: Object.fromEntries(object), errors };
}
