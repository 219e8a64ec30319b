type JsonObject = Record<string, unknown>;
/** Gives what is wrong with a value; the path is a JSON pointer to it. */
type Check = (value: unknown, path: string) => string | undefined;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @throws with words for the one who types */
export function parseJsonObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isObject(value)) throw new Error('must be a JSON object, as in {"type": "object"}');
  return value;
}

const TYPES = ['array', 'boolean', 'integer', 'null', 'number', 'object', 'string'];

const must =
  (is: (value: unknown) => boolean, what: string): Check =>
  (value, path) =>
    is(value) ? undefined : `"${path}" must be ${what}`;

const isText = (value: unknown): boolean => typeof value === 'string';
const text = must(isText, 'a text');
const flag = must((value) => typeof value === 'boolean', 'true or false');
const number = must((value) => typeof value === 'number', 'a number');
const positive = must((value) => typeof value === 'number' && value > 0, 'a number above 0');
const count = must((value) => Number.isInteger(value) && Number(value) >= 0, 'a whole number from 0 on');
const list = must(Array.isArray, 'a list');
const names = must(
  (value) => Array.isArray(value) && value.every(isText) && new Set(value).size === value.length,
  'a list of different names',
);
const type = must(
  (value) => {
    const types = Array.isArray(value) ? value : [value];
    return types.length > 0 && types.every((one) => TYPES.includes(String(one)));
  },
  `one of ${TYPES.map((name) => `"${name}"`).join(', ')}, or a list of them`,
);

const first = (faults: Iterable<string | undefined>): string | undefined => {
  for (const fault of faults) if (fault !== undefined) return fault;
  return undefined;
};

const schema: Check = (value, path) => {
  if (typeof value === 'boolean') return undefined;
  if (!isObject(value)) return `"${path}" must be a schema: an object, true or false`;
  return first(Object.entries(value).map(([name, item]) => KEYWORDS[name]?.(item, `${path}/${name}`)));
};
const schemas: Check = (value, path) =>
  Array.isArray(value) && value.length > 0
    ? first(value.map((item, index) => schema(item, `${path}/${index}`)))
    : `"${path}" must be a list of schemas`;
const schemaByName: Check = (value, path) =>
  isObject(value)
    ? first(Object.entries(value).map(([name, item]) => schema(item, `${path}/${name}`)))
    : `"${path}" must be an object with a schema for each name`;
const schemaOrList: Check = (value, path) =>
  Array.isArray(value) ? schemas(value, path) : schema(value, path);

const KEYWORDS: Record<string, Check> = {
  type,
  enum: list,
  required: names,
  ...Object.fromEntries(
    ['title', 'description', 'pattern', 'format', '$ref', '$comment'].map((k) => [k, text]),
  ),
  ...Object.fromEntries(['uniqueItems', 'deprecated', 'readOnly', 'writeOnly'].map((k) => [k, flag])),
  ...Object.fromEntries(
    ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'].map((k) => [k, number]),
  ),
  multipleOf: positive,
  ...Object.fromEntries(
    [
      ...['minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties'],
      ...['minContains', 'maxContains'],
    ].map((k) => [k, count]),
  ),
  ...Object.fromEntries(
    ['properties', 'patternProperties', '$defs', 'definitions'].map((k) => [k, schemaByName]),
  ),
  ...Object.fromEntries(['allOf', 'anyOf', 'oneOf', 'prefixItems'].map((k) => [k, schemas])),
  items: schemaOrList,
  ...Object.fromEntries(
    [
      ...['not', 'if', 'then', 'else', 'contains', 'additionalProperties', 'additionalItems'],
      ...['propertyNames', 'unevaluatedItems', 'unevaluatedProperties'],
    ].map((k) => [k, schema]),
  ),
};

/**
 * What is wrong with the JSON Schema of a tool's arguments, as far as can be told while it is typed; the server checks
 * it in full. (A validator that makes code of schemas cannot run under the page's policy.)
 */
export function objectSchemaFault(value: JsonObject): string | undefined {
  if (value.type !== undefined && value.type !== 'object') return '"/type" must be "object"';
  return schema(value, '');
}
