// What holds for a config wherever it comes from: over HTTP, or in a file.

/**
 * Parameters of either wire format, of the SDKs' options, or of one of the compatible providers that would
 * change who is asked, what is asked, what is charged or how the answer is read. Written in snake_case; a
 * name is compared without case, `_` and `-`, so that `apiKey` is `api_key`.
 */
const REFUSED_PARAMETERS = [
  // who is asked, and as whom
  ...['api_key', 'x_api_key', 'auth_token', 'access_token', 'authorization', 'credentials', 'organization'],
  ...['project', 'base_url', 'endpoint', 'url', 'host', 'proxy', 'path', 'headers', 'extra_headers'],
  ...['default_headers', 'query', 'extra_query', 'default_query', 'extra_body', 'body', 'fetch', 'signal'],
  ...[
    'fetch_options',
    'http_agent',
    'max_retries',
    'timeout',
    'idempotency_key',
    'models',
    'route',
    'preset',
  ],
  ...['fallbacks', 'fallback_models', 'betas', 'anthropic_beta', 'anthropic_version', 'inference_geo'],
  ...['api_base', 'server_url', 'azure_endpoint', 'custom_headers', 'http_headers', 'request_headers'],
  // what is asked
  ...['messages', 'system', 'system_prompt', 'instructions', 'input', 'prompt', 'suffix', 'template', 'raw'],
  ...['tools', 'functions', 'function_call', 'web_search_options', 'search_parameters', 'search_settings'],
  ...[
    'system_instruction',
    'web_search',
    'web_fetch',
    'search',
    'google_search',
    'mcp',
    'connectors',
    'skills',
  ],
  ...[
    'cached_content',
    'safe_prompt',
    'documents',
    'citation_options',
    'compound_custom',
    'mcp_servers',
    'container',
    'context_management',
  ],
  ...[
    'plugins',
    'transforms',
    'previous_response_id',
    'conversation',
    'background',
    'deferred',
    'truncation',
  ],
  // how it is charged, counted, kept or read
  ...['stream', 'stream_options', 'n', 'best_of', 'store', 'metadata', 'service_tier', 'speed', 'prediction'],
  ...['modalities', 'audio', 'usage', 'include', 'include_usage', 'stream_mode', 'candidate_count'],
];

const plainName = (name: string): string => name.replace(/[_-]/g, '').toLowerCase();
const refused: ReadonlySet<string> = new Set(REFUSED_PARAMETERS.map(plainName));

/** Whether a `model_config` must not hold this parameter, however it is spelt. */
export const isRefusedParameter = (name: string): boolean => refused.has(plainName(name));

/** What a tool may be called. */
export const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;
