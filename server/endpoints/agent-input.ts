import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { z } from 'zod';
import { isRefusedParameter, TOOL_NAME } from '../../tenant-schema/model-config.ts';
import { bytesOf, nameInput, providerName, textOf } from './common.ts';

/** JSON of a `model_config` may be so long. */
const MODEL_CONFIG_BYTES_MAX = 16 * 1024;
/** JSON of all tools of a config may be so long: it goes to the model with every turn. */
const TOOLS_BYTES_MAX = 256 * 1024;

// ── model_config ───────────────────────────────────────────────────────────────────────────────────────

const tokens = z.number().int().positive().nullable().optional();

/** What a model is asked with; what is not known here goes to the provider unchanged. */
export const modelConfigInput = z
  .looseObject({
    provider: providerName,
    model: nameInput,
    temperature: z.number().min(0).max(2).nullable().optional(),
    top_p: z.number().min(0).max(1).nullable().optional(),
    max_tokens: tokens,
    max_completion_tokens: tokens,
  })
  .superRefine(
    (value: Record<string, unknown>, context) => {
      for (const name of Object.keys(value).filter(isRefusedParameter)) {
        context.addIssue({ code: 'custom', path: [name], message: `"${name}" cannot be set here` });
      }
      if (bytesOf(value) > MODEL_CONFIG_BYTES_MAX) {
        context.addIssue({
          code: 'custom',
          message: `must be at most ${MODEL_CONFIG_BYTES_MAX} bytes of JSON`,
        });
      }
    },
    { when: ({ value }) => typeof value === 'object' && value !== null },
  );

// ── tools_config ───────────────────────────────────────────────────────────────────────────────────────

// Formats are left alone so that a tenant's regular expressions are never compiled.
const options = { strict: false, validateFormats: false, logger: false } as const;
const draft2020 = new Ajv2020(options);
const draft7 = new Ajv(options);

const DRAFT_2020 = /^https:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/;
const DRAFT_7 = /^https?:\/\/json-schema\.org\/draft-07\/schema#?$/;

/** What is wrong with a tool's `parameters`, or undefined when it is a JSON Schema for an object. */
function schemaFault(schema: Record<string, unknown>): string | undefined {
  const { $schema: dialect, ...rest } = schema;
  const name = dialect ?? 'https://json-schema.org/draft/2020-12/schema';
  const draft =
    typeof name !== 'string'
      ? undefined
      : DRAFT_2020.test(name)
        ? draft2020
        : DRAFT_7.test(name)
          ? draft7
          : undefined;
  if (!draft) return 'must be a JSON Schema of draft 2020-12 or draft-07';
  if (rest.type !== undefined && rest.type !== 'object') return 'must describe an object ("type": "object")';
  if (draft.validateSchema(rest)) return undefined;
  const [first] = draft.errors ?? [];
  return `must be a valid JSON Schema${first ? `: "${first.instancePath}" ${first.message}` : ''}`;
}

const toolName = z.string().regex(TOOL_NAME, 'must be 1 to 64 letters, digits, "_" or "-"');

const toolObject = z.strictObject({
  name: toolName,
  description: textOf(0, 4096).optional(),
  parameters: z
    .record(z.string(), z.unknown())
    .superRefine((schema, context) => {
      const message = schemaFault(schema);
      if (message) context.addIssue({ code: 'custom', message });
    })
    .optional(),
});

const nameOf = (tool: unknown): unknown =>
  typeof tool === 'object' && tool !== null && 'name' in tool ? tool.name : tool;

export const toolsConfigInput = z
  .array(z.union([toolName, toolObject], { error: 'must be a name or an object with a "name"' }))
  .max(128)
  .superRefine(
    (tools: readonly unknown[], context) => {
      if (bytesOf(tools) > TOOLS_BYTES_MAX) {
        context.addIssue({ code: 'custom', message: `must be at most ${TOOLS_BYTES_MAX} bytes of JSON` });
      }
      const seen = new Set<unknown>();
      tools.map(nameOf).forEach((name, index) => {
        if (typeof name === 'string' && seen.has(name)) {
          context.addIssue({
            code: 'custom',
            path: [index],
            message: 'must not have the name of another tool',
          });
        }
        seen.add(name);
      });
    },
    { when: ({ value }) => Array.isArray(value) },
  );

// ── agent_type ─────────────────────────────────────────────────────────────────────────────────────────

export const agentTypeInput = z
  .enum(['client-side', 'disembodied'], {
    error: 'must be "client-side": sandboxed agents cannot run on this server',
  })
  .transform(() => 'client-side' as const);
