import { z } from 'zod';
import type { Actor, AdminRole, ControlPlane, Scope, TenantIdentity } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { type FaultCode, notFound } from '../../tenant-schema/fault.ts';
import { type IdMaker, isId } from '../../tenant-schema/ids.ts';
import type { IdempotencyKey } from '../../tenant-schema/store.ts';
import type { Agent } from '../agent/agent.ts';
import type { Doctor } from '../operations/doctor.ts';
import type { Fleet } from '../operations/fleet.ts';
import type { LogRetention } from '../operations/log-retention.ts';
import type { MasterKeys } from '../operations/master-key.ts';
import type { Operations } from '../operations/operations.ts';
import type { IncomingFile } from '../operations/tenants.ts';
import type { UsageLedger } from '../operations/usage-ledger.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { BrowserCall } from './browser.ts';
import { idempotencyOf } from './idempotency.ts';
import { parseInput, readQuery } from './validate.ts';

/** Where the server is in its life; `/readyz` is 200 only while it is `ready`. */
export interface Lifecycle {
  state: 'starting' | 'ready' | 'draining';
}

/** What handlers work with; handed down from the composition root. */
export interface Services {
  control: ControlPlane;
  engine: TenantEngine;
  agent: Agent;
  operations: Operations;
  fleet: Fleet;
  doctor: Doctor;
  logRetention: LogRetention;
  masterKeys: MasterKeys;
  usage: UsageLedger;
  ids: IdMaker;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  lifecycle: Lifecycle;
  /** Resolves when what other processes have noted of uses of keys can be read here. */
  gather(): Promise<void>;
}

/** Whom a request speaks for, as far as the endpoint asked. */
export type Caller =
  | { auth: 'none' }
  | { auth: 'admin'; actor: Actor }
  | { auth: 'tenant'; identity: TenantIdentity };

/** A request as it reaches an endpoint: authenticated, its body parsed as JSON, nothing else checked yet. */
export interface EndpointCall {
  params: Record<string, string>;
  /** What stands behind the `?`, as it was sent. */
  query: string;
  body: unknown;
  /** The body as it is, for an endpoint that takes a file. */
  file: IncomingFile;
  requestId: string;
  /** The `Idempotency-Key` as it was sent. */
  idempotencyKey: string | undefined;
  /** Adds headers to the answer; before it is given. */
  setHeaders(headers: Record<string, string>): void;
  caller: Caller;
  browser: BrowserCall;
  services: Services;
  /** Aborted when the client goes away before its answer was sent. */
  clientGone: AbortSignal;
}

/** Writes one event. A promise where the client cannot take the next one yet: it resolves when it can. Never throws. */
export type SendEvent = (name: string, data: unknown) => void | Promise<void>;

/** An answer that comes piece by piece. What `run` throws becomes the stream's last event, `error`. */
export class EventStream {
  readonly run: (send: SendEvent) => Promise<void>;
  constructor(run: (send: SendEvent) => Promise<void>) {
    this.run = run;
  }
}

/** An answer that is not JSON. */
export class TextReply {
  readonly contentType: string;
  readonly text: string;
  constructor(contentType: string, text: string) {
    this.contentType = contentType;
    this.text = text;
  }
}

/** A file from the disk, sent as it is. */
export interface FileReplyOptions {
  path: string;
  /** The name that a client may save it under; characters that are not safe in one are replaced. */
  fileName: string;
  /** Hexadecimal; becomes the `ETag`. */
  sha256: string;
  /** Whether the same file can be asked for again, so that a download can go on where it was cut off. */
  resumable: boolean;
  /** Ends the sending where it is aborted, for its reason. */
  signal?: AbortSignal;
  /** Called once when the file is sent, or given up. */
  release?(): Promise<void>;
}

/** An answer that is a file. */
export class FileReply {
  readonly options: FileReplyOptions;
  constructor(options: FileReplyOptions) {
    this.options = options;
  }
}

/** What the bodies are that are not JSON. */
export const DATABASE_TYPE = 'application/vnd.sqlite3';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** An endpoint with its types folded away: what the router and the API description read. */
export interface Endpoint {
  /** Unique; the `operationId`. */
  name: string;
  /** The heading it is listed under. */
  group: string;
  method: Method;
  /** `/api/v1/configs/:id`; every parameter is an id unless `params` says otherwise. */
  path: string;
  /** What the parameters are that are no ids. */
  params: Record<string, z.ZodType | undefined>;
  auth: Caller['auth'];
  /** What a tenant's key must allow; null where any key will do. */
  scope: Scope | null;
  /** What an admin token must allow; null where it is not about one. */
  role: AdminRole | null;
  summary: string;
  query: z.ZodType | null;
  body: z.ZodType | null;
  /** Whether no body at all is as good as `{}`. */
  bodyOptional: boolean;
  status: number;
  /** Null for an empty answer or one that is not JSON. */
  response: z.ZodType | null;
  /** Whether the body is a file; `body` is null then. */
  takesFile: boolean;
  /** Whether the answer is a file, and one that can be asked for in parts. */
  givesFile: 'whole' | 'resumable' | null;
  /** The events of a streamed answer, by name. */
  events: Record<string, z.ZodType> | null;
  /** The codes it may give beside those that its kind of endpoint always may. */
  faults: readonly FaultCode[];
  /** Whether it takes an `Idempotency-Key`. */
  idempotent: boolean;
  /** Checks the input and handles the call. @throws `validation_failed` with every fault at once. */
  call(call: EndpointCall): Promise<unknown>;
}

type ParamName<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | ParamName<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never;

const NO_QUERY = z.strictObject({});

interface Definition<Path extends string, Query, Body, Reply> {
  name: string;
  group: string;
  method: Method;
  path: Path;
  /** What the parameters are that are no ids. What does not fit is as missing as an id that is none. */
  params?: { readonly [Name in ParamName<Path>]?: z.ZodType };
  summary: string;
  query?: Query;
  body?: Body;
  bodyOptional?: true;
  takesFile?: boolean;
  status?: 200 | 201 | 204;
  response?: Reply;
  givesFile?: 'whole' | 'resumable';
  events?: Record<string, z.ZodType>;
  faults?: readonly FaultCode[];
  idempotent?: true;
}

/** What an endpoint needs that looks at the browser's session itself. */
export interface BrowserContext {
  browser: BrowserCall;
  setHeaders(headers: Record<string, string>): void;
  services: Services;
}

interface Context<Path extends string, Query, Body> extends BrowserContext {
  params: Record<ParamName<Path>, string>;
  query: z.output<Query>;
  body: z.output<Body>;
  file: IncomingFile;
  requestId: string;
  /** Null where the client did not name its request, or the endpoint takes no such name. */
  idempotency: IdempotencyKey | null;
  clientGone: AbortSignal;
}

type Answer<Reply> = z.input<Reply> | EventStream | TextReply | FileReply;

type Handler<Path extends string, Query, Body, Reply, Who> = (
  context: Context<Path, Query, Body> & Who,
) => Promise<Answer<Reply>> | Answer<Reply>;

function build<
  Path extends string,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Reply extends z.ZodType,
  Who,
>(
  definition: Definition<Path, Query, Body, Reply>,
  access: Pick<Endpoint, 'auth' | 'scope' | 'role'>,
  who: (caller: Caller) => Who,
  handler: Handler<Path, Query, Body, Reply, Who>,
): Endpoint {
  const { body = null, response = null, events = null } = definition;
  const params: Endpoint['params'] = { ...definition.params };
  // A probe may add what it likes to a public address; elsewhere an unknown parameter is a mistake.
  const query = definition.query ?? (access.auth === 'none' ? null : NO_QUERY);
  return {
    ...access,
    name: definition.name,
    group: definition.group,
    method: definition.method,
    path: definition.path,
    params,
    summary: definition.summary,
    query,
    body,
    bodyOptional: definition.bodyOptional ?? false,
    status: definition.status ?? 200,
    response,
    takesFile: definition.takesFile ?? false,
    givesFile: definition.givesFile ?? null,
    events,
    faults: definition.faults ?? [],
    idempotent: definition.idempotent ?? false,
    async call(call) {
      const caller = who(call.caller);
      const input = parseInput(
        { schema: query, ...readQuery(call.query) },
        { schema: body, value: call.body },
      );
      // After the rest of the input, as the look-up of an unknown id is: the two must not be told apart.
      for (const [name, value] of Object.entries(call.params)) {
        const fits = params[name]?.safeParse(value).success ?? isId(value);
        if (!fits) throw notFound();
      }
      return handler({
        params: call.params as Record<ParamName<Path>, string>,
        query: input.first as z.output<Query>,
        body: input.second as z.output<Body>,
        file: call.file,
        requestId: call.requestId,
        idempotency: definition.idempotent
          ? idempotencyOf(
              call.idempotencyKey,
              `${definition.name} ${Object.values(call.params).join(' ')}`,
              input.second,
            )
          : null,
        setHeaders: call.setHeaders,
        browser: call.browser,
        services: call.services,
        clientGone: call.clientGone,
        ...caller,
      });
    },
  };
}

const wrongCaller = (name: string): Error => new Error(`${name} was called with the wrong kind of caller`);

/** An endpoint that anybody may call. */
export const publicEndpoint = <
  Path extends string,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Reply extends z.ZodType,
>(
  definition: Definition<Path, Query, Body, Reply>,
  handler: Handler<Path, Query, Body, Reply, unknown>,
): Endpoint => build(definition, { auth: 'none', scope: null, role: null }, () => ({}), handler);

/**
 * An endpoint for who holds an admin token that allows `role`; the handler gets the `actor`. Where none is named, an
 * auditor may look and an operator may do.
 */
export const adminEndpoint = <
  Path extends string,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Reply extends z.ZodType,
>(
  definition: Definition<Path, Query, Body, Reply> & { role?: AdminRole },
  handler: Handler<Path, Query, Body, Reply, { actor: Actor }>,
): Endpoint =>
  build(
    definition,
    {
      auth: 'admin',
      scope: null,
      role: definition.role ?? (definition.method === 'GET' ? 'auditor' : 'operator'),
    },
    (caller) => {
      if (caller.auth !== 'admin') throw wrongCaller(definition.name);
      return { actor: caller.actor };
    },
    handler,
  );

/** An endpoint for a tenant's key that allows `scope`; the handler gets the `identity`. */
export const tenantEndpoint = <
  Path extends string,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Reply extends z.ZodType,
>(
  definition: Definition<Path, Query, Body, Reply> & { scope: Scope | null },
  handler: Handler<Path, Query, Body, Reply, { identity: TenantIdentity }>,
): Endpoint =>
  build(
    definition,
    { auth: 'tenant', scope: definition.scope, role: null },
    (caller) => {
      if (caller.auth !== 'tenant') throw wrongCaller(definition.name);
      return { identity: caller.identity };
    },
    handler,
  );
