import { z } from 'zod';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import type { Config } from '../../tenant-schema/store.ts';
import { agentTypeInput, modelConfigInput, toolsConfigInput } from './agent-input.ts';
import {
  id,
  jsonObject,
  listOf,
  metadataInput,
  nameInput,
  pageOf,
  pageQuery,
  textOf,
  timestamp,
  toList,
} from './common.ts';
import { type Endpoint, tenantEndpoint } from './endpoint.ts';

const systemPrompt = textOf(0, 200_000);

const configInput = z.strictObject({
  name: nameInput,
  agent_type: agentTypeInput.optional(),
  system_prompt: systemPrompt.optional(),
  model_config: modelConfigInput,
  tools_config: toolsConfigInput.optional(),
  metadata: metadataInput.optional(),
});
const configPatch = configInput.partial();
const rollbackInput = z.strictObject({ version: z.number().int().positive() });

const config = z.strictObject({
  id,
  config_id: id,
  name: z.string(),
  agent_type: z.literal('client-side'),
  system_prompt: z.string(),
  model_config: jsonObject,
  tools_config: z.array(
    z.union([
      z.string(),
      z.strictObject({
        name: z.string(),
        description: z.string().optional(),
        parameters: jsonObject.optional(),
      }),
    ]),
  ),
  metadata: jsonObject,
  version: z.number().int().positive(),
  created_at: timestamp,
  updated_at: timestamp,
});

const configJson = (row: Config): z.input<typeof config> => ({
  id: row.id,
  config_id: row.id,
  name: row.name,
  agent_type: row.agentType,
  system_prompt: row.systemPrompt,
  model_config: row.modelConfig,
  tools_config: row.toolsConfig,
  metadata: row.metadata,
  version: row.version,
  created_at: toTimestamp(row.createdAt),
  updated_at: toTimestamp(row.updatedAt),
});

/** The members of a patch that were given, under the store's names. */
const patchContent = (body: z.output<typeof configPatch>) => ({
  ...(body.name !== undefined && { name: body.name }),
  ...(body.agent_type !== undefined && { agentType: body.agent_type }),
  ...(body.system_prompt !== undefined && { systemPrompt: body.system_prompt }),
  ...(body.model_config !== undefined && { modelConfig: body.model_config }),
  ...(body.tools_config !== undefined && { toolsConfig: body.tools_config }),
  ...(body.metadata !== undefined && { metadata: body.metadata }),
});

export const configSchemas = {
  Config: config,
  ConfigInput: configInput,
  ConfigPatch: configPatch,
  ModelConfig: modelConfigInput,
  ToolsConfig: toolsConfigInput,
};

const group = 'Configs';
const path = '/api/v1/configs';

export const configEndpoints: Endpoint[] = [
  tenantEndpoint(
    {
      name: 'createConfig',
      group,
      method: 'POST',
      path,
      scope: 'manage',
      summary: 'Make an agent config, version 1',
      body: configInput,
      status: 201,
      response: config,
      faults: ['already_exists', 'storage_quota_exceeded'],
    },
    async ({ body, identity, services }) =>
      configJson(
        await services.engine.use(identity.tenant.id, (store) =>
          store.createConfig({
            name: body.name,
            agentType: body.agent_type ?? 'client-side',
            systemPrompt: body.system_prompt ?? '',
            modelConfig: body.model_config,
            toolsConfig: body.tools_config ?? [],
            metadata: body.metadata ?? {},
          }),
        ),
      ),
  ),
  tenantEndpoint(
    {
      name: 'listConfigs',
      group,
      method: 'GET',
      path,
      scope: 'read',
      summary: 'List configs',
      query: z.strictObject(pageQuery()),
      response: listOf(config),
    },
    async ({ query, identity, services }) =>
      toList(
        await services.engine.use(identity.tenant.id, (store) => store.listConfigs(pageOf(query))),
        configJson,
      ),
  ),
  tenantEndpoint(
    {
      name: 'getConfig',
      group,
      method: 'GET',
      path: `${path}/:id`,
      scope: 'read',
      summary: 'Read a config, its latest version',
      response: config,
    },
    async ({ params, identity, services }) =>
      configJson(await services.engine.use(identity.tenant.id, (store) => store.getConfig(params.id))),
  ),
  tenantEndpoint(
    {
      name: 'updateConfig',
      group,
      method: 'PATCH',
      path: `${path}/:id`,
      scope: 'manage',
      summary: 'Change a config: each field given is replaced, which makes the next version',
      body: configPatch,
      response: config,
      faults: ['already_exists', 'storage_quota_exceeded'],
    },
    async ({ params, body, identity, services }) =>
      configJson(
        await services.engine.use(identity.tenant.id, (store) => {
          return store.updateConfig(params.id, patchContent(body));
        }),
      ),
  ),
  tenantEndpoint(
    {
      name: 'deleteConfig',
      group,
      method: 'DELETE',
      path: `${path}/:id`,
      scope: 'manage',
      summary: 'Delete a config; its conversations and logs stay readable',
      status: 204,
    },
    ({ params, identity, services }) =>
      services.engine.use(identity.tenant.id, (store) => store.deleteConfig(params.id)),
  ),
  tenantEndpoint(
    {
      name: 'listConfigVersions',
      group,
      method: 'GET',
      path: `${path}/:id/versions`,
      scope: 'read',
      summary: 'List every version of a config, newest first',
      query: z.strictObject(pageQuery()),
      response: listOf(config),
    },
    async ({ params, query, identity, services }) =>
      toList(
        await services.engine.use(identity.tenant.id, (store) =>
          store.listConfigVersions(params.id, pageOf(query)),
        ),
        configJson,
      ),
  ),
  tenantEndpoint(
    {
      name: 'rollbackConfig',
      group,
      method: 'POST',
      path: `${path}/:id/rollback`,
      scope: 'manage',
      summary: 'Make a new version with the content of an old one',
      body: rollbackInput,
      response: config,
      faults: ['already_exists', 'storage_quota_exceeded'],
    },
    async ({ params, body, identity, services }) =>
      configJson(
        await services.engine.use(identity.tenant.id, (store) =>
          store.rollbackConfig(params.id, body.version),
        ),
      ),
  ),
];
