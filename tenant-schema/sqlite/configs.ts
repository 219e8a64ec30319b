import { and, desc, eq, lt, sql } from 'drizzle-orm';
import { Fault, invalid, notFound } from '../fault.ts';
import { idTime } from '../ids.ts';
import { mergeMetadata } from '../json.ts';
import { decodeCountCursor, decodeIdCursor, pageWithinBytes } from '../page.ts';
import type { Config, ConfigContent, ModelConfig, TenantStore, ToolConfig } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { configs, configVersions } from './tables.ts';

export type ConfigVerbs = Pick<
  TenantStore,
  | 'createConfig'
  | 'listConfigs'
  | 'getConfig'
  | 'updateConfig'
  | 'deleteConfig'
  | 'listConfigVersions'
  | 'rollbackConfig'
>;

type VersionRow = typeof configVersions.$inferSelect;
interface ConfigRow extends VersionRow {
  bornAt: number;
}

export function configVerbs(context: StoreContext): ConfigVerbs {
  const { orm, prepared, preparedByShape, write } = context;
  const param = sql.placeholder;
  const columns = {
    configId: configVersions.configId,
    version: configVersions.version,
    name: configVersions.name,
    agentType: configVersions.agentType,
    systemPrompt: configVersions.systemPrompt,
    modelConfig: configVersions.modelConfig,
    toolsConfig: configVersions.toolsConfig,
    metadata: configVersions.metadata,
    createdAt: configVersions.createdAt,
    bornAt: configs.createdAt,
  };
  const select = () =>
    orm.select(columns).from(configs).innerJoin(configVersions, eq(configVersions.configId, configs.id));
  const isLatest = eq(configVersions.version, configs.version);

  const byId = prepared(() =>
    select()
      .where(and(eq(configs.id, param('id')), isLatest))
      .prepare(),
  );
  const byVersion = prepared(() =>
    select()
      .where(and(eq(configs.id, param('id')), eq(configVersions.version, param('version'))))
      .prepare(),
  );
  // The large columns; the others are bounded by far less.
  const bytes = {
    bytes: sql<number>`octet_length(${configVersions.systemPrompt}) + octet_length(${configVersions.toolsConfig}) + octet_length(${configVersions.modelConfig}) + octet_length(${configVersions.metadata})`,
  };
  const selectBytes = () =>
    orm.select(bytes).from(configs).innerJoin(configVersions, eq(configVersions.configId, configs.id));
  const ofPage = (shape: string[]) =>
    and(isLatest, shape.includes('after') ? lt(configs.id, param('after')) : undefined);
  const ofVersions = (shape: string[]) =>
    and(
      eq(configs.id, param('id')),
      shape.includes('after') ? lt(configVersions.version, param('after')) : undefined,
    );
  const page = preparedByShape((shape) =>
    select().where(ofPage(shape)).orderBy(desc(configs.id)).limit(param('limit')).prepare(),
  );
  const pageBytes = preparedByShape((shape) =>
    selectBytes().where(ofPage(shape)).orderBy(desc(configs.id)).limit(param('limit')).prepare(),
  );
  const versions = preparedByShape((shape) =>
    select().where(ofVersions(shape)).orderBy(desc(configVersions.version)).limit(param('limit')).prepare(),
  );
  const versionBytes = preparedByShape((shape) =>
    selectBytes()
      .where(ofVersions(shape))
      .orderBy(desc(configVersions.version))
      .limit(param('limit'))
      .prepare(),
  );
  const idByName = prepared(() =>
    orm
      .select({ id: configs.id })
      .from(configs)
      .where(eq(configs.name, param('name')))
      .prepare(),
  );
  const insertConfig = prepared(() =>
    orm
      .insert(configs)
      .values({ id: param('id'), name: param('name'), version: param('version'), createdAt: param('now') })
      .prepare(),
  );
  const insertVersion = prepared(() =>
    orm
      .insert(configVersions)
      .values({
        configId: param('configId'),
        version: param('version'),
        name: param('name'),
        agentType: param('agentType'),
        systemPrompt: param('systemPrompt'),
        modelConfig: param('modelConfig'),
        toolsConfig: param('toolsConfig'),
        metadata: param('metadata'),
        createdAt: param('createdAt'),
      })
      .prepare(),
  );
  const pointToVersion = prepared(() =>
    orm
      .update(configs)
      .set({ name: sql`${param('name')}`, version: sql`${param('version')}` })
      .where(eq(configs.id, param('id')))
      .prepare(),
  );
  const remove = prepared(() =>
    orm
      .delete(configs)
      .where(eq(configs.id, param('id')))
      .prepare(),
  );

  const find = (id: string): Config => {
    const row = byId().get({ id });
    if (!row) throw notFound();
    return toConfig(row);
  };
  const requireFreeName = (name: string, ownId: string | null): void => {
    const holder = idByName().get({ name });
    if (holder && holder.id !== ownId) {
      throw new Fault('already_exists', `A config named "${name}" exists already.`);
    }
  };
  /** Adds the version after `current`. */
  const addVersion = (current: Config, content: ConfigContent): Config => {
    context.requireRoom();
    requireFreeName(content.name, current.id);
    const row = toVersionRow(current.id, current.version + 1, content, context.clock.now());
    insertVersion().run({ ...row });
    pointToVersion().run({ id: current.id, name: content.name, version: row.version });
    return toConfig({ ...row, bornAt: current.createdAt });
  };

  return {
    createConfig: (content) =>
      write(() => {
        context.requireRoom();
        requireFreeName(content.name, null);
        const id = context.ids();
        const now = idTime(id);
        insertConfig().run({ id, name: content.name, version: 1, now });
        const row = toVersionRow(id, 1, content, now);
        insertVersion().run({ ...row });
        return toConfig({ ...row, bornAt: now });
      }),

    listConfigs: ({ limit, cursor }) =>
      context.read(() => {
        const after = cursor === null ? null : decodeIdCursor(cursor);
        const sizes = pageBytes({ after }).all({ after, limit: limit + 1 });
        return pageWithinBytes(
          sizes.map((size) => size.bytes),
          limit,
          (count) => page({ after }).all({ after, limit: count }).map(toConfig),
          ({ id }) => id,
        );
      }),

    getConfig: find,

    updateConfig: (id, patch) =>
      write(() => {
        const current = find(id);
        const content: ConfigContent = {
          name: patch.name ?? current.name,
          agentType: patch.agentType ?? current.agentType,
          systemPrompt: patch.systemPrompt ?? current.systemPrompt,
          modelConfig: patch.modelConfig ?? current.modelConfig,
          toolsConfig: patch.toolsConfig ?? current.toolsConfig,
          metadata: mergeMetadata(current.metadata, patch.metadata ?? {}),
        };
        return sameContent(current, content) ? current : addVersion(current, content);
      }),

    deleteConfig: (id) =>
      write(() => {
        if (remove().run({ id }).changes === 0) throw notFound();
      }),

    listConfigVersions: (id, { limit, cursor }) =>
      context.read(() => {
        find(id);
        const after = cursor === null ? null : decodeCountCursor(cursor);
        const sizes = versionBytes({ after }).all({ id, after, limit: limit + 1 });
        return pageWithinBytes(
          sizes.map((size) => size.bytes),
          limit,
          (count) => versions({ after }).all({ id, after, limit: count }).map(toConfig),
          ({ version }) => String(version),
        );
      }),

    rollbackConfig: (id, version) =>
      write(() => {
        const current = find(id);
        const old = byVersion().get({ id, version });
        if (!old) throw invalid([{ path: 'version', message: `this config has no version ${version}` }]);
        return addVersion(current, toConfig(old));
      }),
  };
}

const toConfig = (row: ConfigRow): Config => ({
  id: row.configId,
  version: row.version,
  name: row.name,
  agentType: row.agentType,
  systemPrompt: row.systemPrompt,
  modelConfig: JSON.parse(row.modelConfig) as ModelConfig,
  toolsConfig: JSON.parse(row.toolsConfig) as ToolConfig[],
  metadata: JSON.parse(row.metadata) as Config['metadata'],
  createdAt: row.bornAt,
  updatedAt: row.createdAt,
});

const toVersionRow = (
  configId: string,
  version: number,
  content: ConfigContent,
  createdAt: number,
): VersionRow => ({
  configId,
  version,
  name: content.name,
  agentType: content.agentType,
  systemPrompt: content.systemPrompt,
  modelConfig: JSON.stringify(content.modelConfig),
  toolsConfig: JSON.stringify(content.toolsConfig),
  metadata: JSON.stringify(content.metadata),
  createdAt,
});

/** Compared as it would be stored, where the order of keys counts: a reordered schema is a change. */
const sameContent = (a: ConfigContent, b: ConfigContent): boolean =>
  JSON.stringify(toVersionRow('', 0, a, 0)) === JSON.stringify(toVersionRow('', 0, b, 0));
