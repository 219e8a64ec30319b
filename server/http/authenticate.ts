import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import {
  ADMIN_ROLES,
  type Admin,
  type AdminRole,
  type ControlPlane,
  type SessionOwner,
} from '../../control-plane/types.ts';
import { Fault, unauthorized } from '../../tenant-schema/fault.ts';
import { requireOwnPage } from '../endpoints/browser.ts';
import type { Caller, Endpoint } from '../endpoints/endpoint.ts';
import { browserOf } from './browser.ts';
import { clientAddress } from './forward.ts';

const bearer = (request: IncomingMessage): string | undefined =>
  /^Bearer +(\S.*)$/i.exec(request.headers.authorization ?? '')?.[1];

function apiKey(request: IncomingMessage): string | undefined {
  const given = request.headers['x-api-key'];
  return (Array.isArray(given) ? given[0] : given) || bearer(request);
}

/** Who starts a server inside a process of their own for one command, and speaks to it alone. */
const COMMAND_LINE: Admin = { id: 'cli', name: 'command line', requestId: null, role: 'owner' };

/** The control plane with one more admin token, which is kept nowhere and ends with this process. */
export function withInternalAdmin(control: ControlPlane, token: string): ControlPlane {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(token);
  return {
    ...control,
    findAdmin: async (given, address) =>
      timingSafeEqual(digest(given), expected) ? COMMAND_LINE : control.findAdmin(given, address),
  };
}

const allows = (role: AdminRole, needed: AdminRole): boolean =>
  ADMIN_ROLES.indexOf(role) >= ADMIN_ROLES.indexOf(needed);

/** By the session in the cookie. @throws `csrf_failed` */
function ownerBySession(request: IncomingMessage, control: ControlPlane): SessionOwner | undefined {
  const browser = browserOf(request);
  const { sessionText } = browser;
  const session = sessionText === undefined ? undefined : control.findSession(sessionText);
  if (sessionText === undefined || !session) return undefined;
  requireOwnPage(browser, sessionText);
  return session.owner;
}

async function ownerOf(
  request: IncomingMessage,
  kind: SessionOwner['kind'],
  control: ControlPlane,
): Promise<SessionOwner | undefined> {
  // A key or token that is sent is what counts, also a wrong one.
  if (request.headers.authorization === undefined && request.headers['x-api-key'] === undefined) {
    return ownerBySession(request, control);
  }
  if (kind === 'admin') {
    const token = bearer(request);
    const admin = token && (await control.findAdmin(token, clientAddress(request)));
    return admin ? { kind, admin } : undefined;
  }
  const key = apiKey(request);
  const identity = key && control.findByKey(key);
  return identity ? { kind, identity } : undefined;
}

/**
 * Whom the request speaks for, as the endpoint asks: by an admin token, a key, or the session of the console.
 * @throws `unauthorized`, one answer for every cause; `tenant_suspended`; `insufficient_scope`; `rate_limited`
 *   when an address tries admin tokens too often; `csrf_failed` for a session that another site's page uses.
 */
export async function authenticate(
  request: IncomingMessage,
  endpoint: Pick<Endpoint, 'auth' | 'scope' | 'role'>,
  control: ControlPlane,
  requestId: string,
): Promise<Caller> {
  if (endpoint.auth === 'none') return { auth: 'none' };
  const owner = await ownerOf(request, endpoint.auth, control);
  if (owner?.kind !== endpoint.auth) throw unauthorized();
  if (owner.kind === 'admin') {
    const { role, ...actor } = owner.admin;
    if (endpoint.role !== null && !allows(role, endpoint.role)) {
      throw new Fault('insufficient_scope', `This needs an admin token with the role "${endpoint.role}".`);
    }
    return { auth: 'admin', actor: { ...actor, requestId } };
  }
  const { identity } = owner;
  if (identity.tenant.status === 'suspended') {
    throw new Fault('tenant_suspended', 'This tenant is suspended.');
  }
  if (endpoint.scope !== null && !identity.key.scopes.includes(endpoint.scope)) {
    throw new Fault('insufficient_scope', `This key does not have the scope "${endpoint.scope}".`);
  }
  return { auth: 'tenant', identity };
}
