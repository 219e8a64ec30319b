import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { ADMIN_ROLES, type Admin, type AdminRole, type ControlPlane } from '../../control-plane/types.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { Caller, Endpoint } from '../endpoints/endpoint.ts';
import { clientAddress } from './forward.ts';

const unauthorized = (): Fault =>
  new Fault('unauthorized', 'The credentials are missing, unknown or no longer valid.');

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

/**
 * Whom the request speaks for, as the endpoint asks.
 * @throws `unauthorized`, one answer for every cause; `tenant_suspended`; `insufficient_scope`; `rate_limited`
 *   when an address tries admin tokens too often.
 */
export async function authenticate(
  request: IncomingMessage,
  endpoint: Pick<Endpoint, 'auth' | 'scope' | 'role'>,
  control: ControlPlane,
  requestId: string,
): Promise<Caller> {
  if (endpoint.auth === 'none') return { auth: 'none' };
  if (endpoint.auth === 'admin') {
    const token = bearer(request);
    const admin = token && (await control.findAdmin(token, clientAddress(request)));
    if (!admin) throw unauthorized();
    const { role, ...actor } = admin;
    if (endpoint.role !== null && !allows(role, endpoint.role)) {
      throw new Fault('insufficient_scope', `This needs an admin token with the role "${endpoint.role}".`);
    }
    return { auth: 'admin', actor: { ...actor, requestId } };
  }
  const key = apiKey(request);
  const identity = key && control.findByKey(key);
  if (!identity) throw unauthorized();
  if (identity.tenant.status === 'suspended') {
    throw new Fault('tenant_suspended', 'This tenant is suspended.');
  }
  if (endpoint.scope !== null && !identity.key.scopes.includes(endpoint.scope)) {
    throw new Fault('insufficient_scope', `This key does not have the scope "${endpoint.scope}".`);
  }
  return { auth: 'tenant', identity };
}
