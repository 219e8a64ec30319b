import { z } from 'zod';
import { ADMIN_ROLES, SCOPES, type Session } from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import { Fault, unauthorized } from '../../tenant-schema/fault.ts';
import { csrfTokenOf, requireOwnPage, requireSameOrigin, sessionCookie } from './browser.ts';
import { id, textOf, timestamp } from './common.ts';
import { type BrowserContext, type Endpoint, publicEndpoint } from './endpoint.ts';

const PATH = '/console/session';
const SECRET_CHARS_MAX = 512;

const secret = textOf(1, SECRET_CHARS_MAX).optional();
const signInInput = z
  .strictObject({ admin_token: secret, api_key: secret })
  .refine(
    (given) => (given.admin_token === undefined) !== (given.api_key === undefined),
    'must have either "admin_token" or "api_key"',
  );

const sessionRow = {
  /** Of the admin token or the key. */
  name: z.string(),
  /** When the session ends whatever happens. */
  expires_at: timestamp,
  /** It ends after so long without a request. */
  idle_seconds: z.number().nonnegative(),
  /** For the header `X-CSRF-Token` of every request of the session; a GET may go without. */
  csrf_token: z.string(),
};
const operatorSession = z.strictObject({
  kind: z.literal('operator'),
  ...sessionRow,
  role: z.enum(ADMIN_ROLES),
});
const tenantSession = z.strictObject({
  kind: z.literal('tenant'),
  ...sessionRow,
  tenant: z.strictObject({ id, name: z.string() }),
  scopes: z.array(z.enum(SCOPES)),
});
const session = z.discriminatedUnion('kind', [operatorSession, tenantSession]);

export const consoleSchemas = {
  Session: session,
  OperatorSession: operatorSession,
  TenantSession: tenantSession,
};

function sessionJson({ owner, expiresAt, idleMs }: Session, text: string): z.input<typeof session> {
  const common = {
    expires_at: toTimestamp(expiresAt),
    idle_seconds: idleMs / 1000,
    csrf_token: csrfTokenOf(text),
  };
  if (owner.kind === 'admin') {
    return { kind: 'operator', name: owner.admin.name, role: owner.admin.role, ...common };
  }
  const { tenant, key } = owner.identity;
  return {
    kind: 'tenant',
    name: key.name,
    tenant: { id: tenant.id, name: tenant.name },
    scopes: key.scopes,
    ...common,
  };
}

/** The session in the cookie. @throws `unauthorized` where there is none that lives; its cookie goes then */
function requireSession({ browser, setHeaders, services }: BrowserContext) {
  const { sessionText: text } = browser;
  const session = text === undefined ? undefined : services.control.findSession(text);
  if (text !== undefined && session) return { session, text };
  if (text !== undefined) setHeaders({ 'Set-Cookie': sessionCookie(null, browser) });
  throw unauthorized();
}

export const consoleEndpoints: Endpoint[] = [
  publicEndpoint(
    {
      name: 'signIn',
      group: 'Console',
      method: 'POST',
      path: PATH,
      summary: "Sign a browser in with an admin token or a tenant's key; the cookie it gets is a new session",
      body: signInInput,
      status: 201,
      response: session,
      faults: ['unauthorized', 'rate_limited', 'tenant_suspended', 'csrf_failed'],
    },
    async ({ body, browser, requestId, setHeaders, services: { control } }) => {
      // Else another site could sign its visitors in as somebody it knows.
      requireSameOrigin(browser);
      const { admin_token: adminToken, api_key: apiKey = '' } = body;
      const credentials = adminToken === undefined ? { apiKey } : { adminToken };
      const { session, text } = await control.signIn(credentials, browser.address, requestId);
      // What the browser had before is nobody's any more.
      const before = browser.sessionText && control.findSession(browser.sessionText);
      if (before) control.signOut(before, requestId, { everywhere: false });
      setHeaders({ 'Set-Cookie': sessionCookie(text, browser) });
      return sessionJson(session, text);
    },
  ),
  publicEndpoint(
    {
      name: 'getSession',
      group: 'Console',
      method: 'GET',
      path: PATH,
      summary: 'Whom the session in the cookie speaks for',
      response: session,
      faults: ['unauthorized', 'tenant_suspended', 'csrf_failed'],
    },
    (context) => {
      requireSameOrigin(context.browser);
      const { session, text } = requireSession(context);
      if (session.owner.kind === 'tenant' && session.owner.identity.tenant.status === 'suspended') {
        throw new Fault('tenant_suspended', 'This tenant is suspended.');
      }
      return sessionJson(session, text);
    },
  ),
  publicEndpoint(
    {
      name: 'signOut',
      group: 'Console',
      method: 'DELETE',
      path: PATH,
      summary: 'End the session in the cookie, or with `everywhere=true` every one of its admin token or key',
      query: z.strictObject({ everywhere: z.enum(['true', 'false']).optional() }),
      status: 204,
      faults: ['unauthorized', 'csrf_failed'],
    },
    (context) => {
      const { browser, query, requestId, setHeaders, services } = context;
      const { session, text } = requireSession(context);
      requireOwnPage(browser, text);
      services.control.signOut(session, requestId, { everywhere: query.everywhere === 'true' });
      setHeaders({ 'Set-Cookie': sessionCookie(null, browser) });
    },
  ),
];
