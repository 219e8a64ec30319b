import { request } from 'undici';
import type { ChatTarget } from './load.ts';

/** Calls of a running server's API that set a benchmark up. */
export interface Admin {
  /** A tenant with one config that asks `openai`. */
  makeChatter(name: string, limits?: object): Promise<ChatTarget & { tenantId: string }>;
  /** Closes a tenant's file. */
  quiesce(tenantId: string): Promise<void>;
  /** Makes a backup; gives its size. */
  backUp(tenantId: string): Promise<number>;
}

const CALL_MS_MAX = 120_000;
/** A server that was loaded to its limit a moment ago says for half a second that it takes no requests. */
const BUSY_RETRIES = 10;
const BUSY_WAIT_MS = 500;

export function createAdmin(url: string, adminToken: string): Admin {
  const call = async (path: string, headers: Record<string, string>, body: string) => {
    const answer = await request(`${url}${path}`, {
      method: 'POST',
      headers,
      body,
      headersTimeout: CALL_MS_MAX,
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 201 && answer.statusCode !== 200)
      throw new Error(`${path} answered ${answer.statusCode}: ${text}`);
    return JSON.parse(text) as Record<string, unknown>;
  };
  const admin = { authorization: `Bearer ${adminToken}` };
  const json = { 'content-type': 'application/json' };

  return {
    async makeChatter(name, limits = {}) {
      const body = JSON.stringify({ name, limits });
      const tenant = await call('/api/v1/admin/tenants', { ...admin, ...json }, body);
      const apiKey = String(tenant.api_key);
      const config = {
        name: 'assistant',
        system_prompt: 'You help the visitors of {tenant_name}. Today is {date}.',
        model_config: { provider: 'openai', model: 'bench' },
      };
      const { id } = await call('/api/v1/configs', { 'x-api-key': apiKey, ...json }, JSON.stringify(config));
      return { apiKey, configId: String(id), tenantId: String(tenant.id) };
    },
    async quiesce(tenantId) {
      const { standalone } = await call(
        `/api/v1/admin/tenants/${tenantId}/quiesce`,
        { ...admin, ...json },
        '{}',
      );
      if (standalone !== true) throw new Error('The file could not be closed.');
    },
    async backUp(tenantId) {
      for (let retries = 0; ; retries += 1) {
        try {
          const path = `/api/v1/admin/tenants/${tenantId}/backups`;
          return Number((await call(path, { ...admin, ...json }, '{}')).size_bytes);
        } catch (error) {
          const isBusy = error instanceof Error && error.message.includes('"code":"overloaded"');
          if (!isBusy || retries >= BUSY_RETRIES) throw error;
          await new Promise((resolve) => setTimeout(resolve, BUSY_WAIT_MS));
        }
      }
    },
  };
}
