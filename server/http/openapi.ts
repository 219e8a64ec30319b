import { z } from 'zod';
import type { FaultCode } from '../../tenant-schema/fault.ts';
import { CSRF_HEADER, SESSION_COOKIE } from '../endpoints/browser.ts';
import { DATABASE_TYPE, type Endpoint } from '../endpoints/endpoint.ts';
import { IDEMPOTENCY_HEADER, IDEMPOTENCY_KEY_CHARS_MAX } from '../endpoints/idempotency.ts';
import { RATE_LIMIT_HEADERS } from '../endpoints/rate-limit.ts';
import { PROBLEMS } from './problem.ts';

type Json = Record<string, unknown>;
/** One answer, of which only the headers are looked at here. */
type Answer = Json & { headers?: Json };

const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** The codes that every call of its kind may give. */
function faultsOf(endpoint: Endpoint): FaultCode[] {
  const codes: FaultCode[] = [...endpoint.faults];
  const isProbe = endpoint.group === 'Server';
  if (!isProbe) codes.push('overloaded', 'internal_error');
  // A disk that is full is met by reads too: the first one of an older file migrates it.
  if (endpoint.auth !== 'none') codes.push('storage_quota_exceeded');
  if (endpoint.auth !== 'none') codes.push('unauthorized', 'csrf_failed');
  if (endpoint.auth === 'admin') codes.push('rate_limited');
  if (endpoint.auth === 'tenant') codes.push('tenant_suspended', 'tenant_unavailable');
  if (endpoint.scope || (endpoint.role && endpoint.role !== 'auditor')) codes.push('insufficient_scope');
  if (endpoint.path.includes(':')) codes.push('not_found');
  if (endpoint.body) codes.push('invalid_json', 'body_too_large', 'unsupported_media_type');
  if (endpoint.idempotent) codes.push('idempotency_conflict', 'idempotency_in_progress');
  if (endpoint.takesFile) codes.push('body_too_large', 'unsupported_media_type');
  if (endpoint.givesFile === 'resumable') codes.push('range_not_satisfiable');
  if (endpoint.body || endpoint.query) codes.push('validation_failed');
  return [...new Set(codes)];
}

/** The codes whose answers say when to come again. */
const COME_AGAIN: readonly FaultCode[] = [
  'rate_limited',
  'concurrency_limited',
  'budget_exceeded',
  'conversation_busy',
  'idempotency_in_progress',
  'upstream_rate_limited',
  'overloaded',
  'storage_quota_exceeded',
];
/** The codes whose answers tell how the rolling limits stand. */
const LIMITED: readonly FaultCode[] = ['rate_limited', 'concurrency_limited', 'budget_exceeded'];
const headersOf = (names: readonly string[]): Json =>
  Object.fromEntries(names.map((name) => [name, { schema: { type: 'string' } }]));

/** Error answers, grouped by status since that is how the format has them. */
function problemResponses(endpoint: Endpoint): Record<string, Answer> {
  const codes = faultsOf(endpoint);
  const statuses = [...new Set(codes.map((code) => PROBLEMS[code].status))];
  return Object.fromEntries(
    statuses.map((status) => [
      String(status),
      {
        description: codes
          .filter((code) => PROBLEMS[code].status === status)
          .map((code) => `\`${code}\`: ${PROBLEMS[code].title}`)
          .join('\n\n'),
        ...problemHeaders(
          endpoint,
          codes.filter((code) => PROBLEMS[code].status === status),
        ),
        content: { 'application/problem+json': { schema: ref('Problem') } },
      },
    ]),
  );
}

const IDEMPOTENCY_PARAMETER = {
  name: IDEMPOTENCY_HEADER,
  in: 'header',
  required: false,
  description:
    'Names the request, so that it may be sent again: within 24 hours the same answer comes back and nothing is done twice.',
  schema: { type: 'string', minLength: 1, maxLength: IDEMPOTENCY_KEY_CHARS_MAX },
};

/** What a parameter in a path may be: an id where nothing else is said. */
function pathSchema(given: z.ZodType | undefined): Json {
  if (!given) return { type: 'string', format: 'uuid' };
  const { $schema: _, ...schema } = z.toJSONSchema(given, { io: 'input' });
  return schema;
}

/** What such an answer may carry beside its body. */
function problemHeaders(endpoint: Endpoint, codes: readonly FaultCode[]): { headers?: Json } {
  const names = [
    ...(codes.includes('unauthorized') ? ['WWW-Authenticate'] : []),
    ...(codes.some((code) => COME_AGAIN.includes(code)) ? ['Retry-After'] : []),
    ...(codes.includes('range_not_satisfiable') ? ['Content-Range'] : []),
    ...(endpoint.idempotent && codes.some((code) => LIMITED.includes(code)) ? RATE_LIMIT_HEADERS : []),
  ];
  return names.length > 0 ? { headers: headersOf(names) } : {};
}

function parameters(endpoint: Endpoint): Json[] {
  const inPath = [...endpoint.path.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: pathSchema(endpoint.params[name]),
  }));
  const named = endpoint.idempotent ? [IDEMPOTENCY_PARAMETER] : [];
  if (!endpoint.query) return [...inPath, ...named];
  const { properties = {}, required = [] } = z.toJSONSchema(endpoint.query, { io: 'input' });
  const inQuery = Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    schema,
  }));
  return [...inPath, ...inQuery, ...named];
}

const SECURITY: Record<Endpoint['auth'], Json[]> = {
  none: [],
  admin: [{ adminToken: [] }],
  tenant: [{ apiKey: [] }, { apiKeyBearer: [] }],
};
/** What opens an endpoint; a browser that is signed in needs no more than its cookie to read. */
const securityOf = ({ auth, method }: Endpoint): Json[] => {
  if (auth === 'none') return [];
  const bySession = { session: [], ...(method !== 'GET' && { csrfToken: [] }) };
  return [...SECURITY[auth], bySession];
};

/** A SQLite file, as a body or an answer. */
const FILE = { [DATABASE_TYPE]: { schema: { type: 'string', format: 'binary' } } };
const text = (description: string) => ({ description, schema: { type: 'string' } });
const FILE_HEADERS = {
  ETag: text('The SHA-256 of the file, in quotes'),
  'Repr-Digest': text('The SHA-256 of the file (RFC 9530)'),
  Digest: text('The same as clients of RFC 3230 ask for it'),
  'Content-Disposition': text('A name to save it under'),
  'Accept-Ranges': text('`bytes` where a part can be asked for'),
};
const UNCHANGED = {
  description: '`If-None-Match` names the `ETag` of the file',
  headers: { ETag: FILE_HEADERS.ETag },
};
const PART = {
  description: 'The part that `Range` asks for',
  headers: { ...FILE_HEADERS, 'Content-Range': text('Which bytes these are, of how many') },
  content: FILE,
};

/** What every answer carries, whatever it is. */
const withRequestId = (responses: Record<string, Answer>): Json =>
  Object.fromEntries(
    Object.entries(responses).map(([status, response]) => [
      status,
      {
        ...response,
        headers: { 'X-Request-Id': { $ref: '#/components/headers/RequestId' }, ...response.headers },
      },
    ]),
  );

/** Example bodies, by endpoint; what the page of the docs sends when its button is pressed. */
const EXAMPLES: Record<string, unknown> = {
  chat: { message: 'Hello' },
  createConfig: {
    name: 'Site Editor',
    system_prompt: 'You edit websites for {tenant_name}. Today is {date}.',
    model_config: { provider: 'demo', model: 'demo' },
    tools_config: ['read_file'],
  },
  updateConfig: { system_prompt: 'You are {agent_name}.' },
  rollbackConfig: { version: 1 },
  updateConversation: { title: 'Phone number' },
  createTenant: { name: 'Acme', limits: { providers: ['demo'] } },
  updateTenant: { status: 'suspended' },
  createTenantKey: { name: 'website', scopes: ['chat'] },
  rotateTenantKey: { overlap_seconds: 86_400 },
  rotateKey: { overlap_seconds: 86_400 },
  createAdminToken: { name: 'Ada', role: 'operator' },
};

/** A registry in which every schema of a body, an answer or an event has a name. */
function nameSchemas(endpoints: readonly Endpoint[], named: Record<string, z.ZodType>) {
  const registry = z.registry<{ id: string }>();
  const add = (schema: z.ZodType, id: string) => {
    if (!registry.has(schema)) registry.add(schema, { id });
  };
  for (const [name, schema] of Object.entries(named)) add(schema, name);
  for (const endpoint of endpoints) {
    const prefix = endpoint.name.replace(/^./, (first) => first.toUpperCase());
    if (endpoint.body) add(endpoint.body, `${prefix}Body`);
    if (endpoint.response) add(endpoint.response, `${prefix}Answer`);
    for (const [name, schema] of Object.entries(endpoint.events ?? {})) {
      add(schema, `${prefix}Event${name.replace(/(?:^|_)./g, (part) => part.slice(-1).toUpperCase())}`);
    }
  }
  const nameOf = (schema: z.ZodType): string => {
    const id = registry.get(schema)?.id;
    if (id === undefined) throw new Error('a schema without a name');
    return id;
  };
  return { registry, nameOf };
}

/** Describes the endpoints as an OpenAPI 3.1 document. */
export function openApiDocument(endpoints: readonly Endpoint[], named: Record<string, z.ZodType>): Json {
  const { registry, nameOf } = nameSchemas(endpoints, named);
  const { schemas } = z.toJSONSchema(registry, {
    io: 'input',
    uri: (id) => ref(id).$ref,
    unrepresentable: 'any',
  });
  const components = Object.entries(schemas).map(([name, { $id, $schema, ...schema }]) => [name, schema]);

  const success = (endpoint: Endpoint): Answer => {
    const { response, events } = endpoint;
    if (endpoint.status === 204) return { description: 'Done' };
    if (endpoint.givesFile) return { description: 'The file', headers: FILE_HEADERS, content: FILE };
    if (!response)
      return { description: 'A text', content: { 'text/plain': { schema: { type: 'string' } } } };
    const streamed = events && {
      'text/event-stream': {
        schema: {
          type: 'string',
          description:
            'Events with a name and one JSON object each. ' +
            Object.entries(events)
              .map(([name, schema]) => `\`${name}\`: [${nameOf(schema)}](${ref(nameOf(schema)).$ref})`)
              .join(', '),
        },
      },
    };
    const content = { 'application/json': { schema: ref(nameOf(response)) }, ...streamed };
    const headers = endpoint.idempotent && {
      headers: headersOf(['Idempotent-Replayed', ...RATE_LIMIT_HEADERS]),
    };
    return { description: endpoint.status === 201 ? 'Made' : 'The answer', ...headers, content };
  };

  const operation = (endpoint: Endpoint): Json => {
    const example = EXAMPLES[endpoint.name];
    return {
      operationId: endpoint.name,
      tags: [endpoint.group],
      summary: endpoint.summary,
      ...(endpoint.scope && { description: `Needs a key with the scope \`${endpoint.scope}\`.` }),
      ...(endpoint.role && { description: `Needs an admin token with the role \`${endpoint.role}\`.` }),
      security: securityOf(endpoint),
      parameters: parameters(endpoint),
      ...(endpoint.body && {
        requestBody: {
          required: !endpoint.bodyOptional,
          content: {
            'application/json': {
              schema: ref(nameOf(endpoint.body)),
              ...(example !== undefined && { example }),
            },
          },
        },
      }),
      ...(endpoint.takesFile && { requestBody: { required: true, content: FILE } }),
      responses: withRequestId({
        [endpoint.status]: success(endpoint),
        ...(endpoint.givesFile && { 304: UNCHANGED }),
        ...(endpoint.givesFile === 'resumable' && { 206: PART }),
        ...problemResponses(endpoint),
      }),
    };
  };

  const paths: Record<string, Json> = {};
  for (const endpoint of endpoints) {
    const path = endpoint.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operation(endpoint) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Nimblesite, self-hosted',
      version: '1',
      description: 'A gateway to AI agents that gives every tenant a database file of its own.',
    },
    servers: [{ url: '/' }],
    tags: [...new Set(endpoints.map(({ group }) => group))].map((name) => ({ name })),
    paths,
    components: {
      schemas: Object.fromEntries(components),
      headers: {
        RequestId: text("The client's own `X-Request-Id` where it sent a valid one; the log has it too"),
      },
      securitySchemes: {
        adminToken: { type: 'http', scheme: 'bearer', description: 'An admin token' },
        apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: "A tenant's key" },
        apiKeyBearer: { type: 'http', scheme: 'bearer', description: "A tenant's key" },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: SESSION_COOKIE,
          description: 'A session of the console, on its own pages only',
        },
        csrfToken: {
          type: 'apiKey',
          in: 'header',
          name: CSRF_HEADER,
          description: 'The `csrf_token` of the session',
        },
      },
    },
  };
}
