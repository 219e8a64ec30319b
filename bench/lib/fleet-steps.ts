import { TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';

/** What is done to each tenant, in this order. */
export const STEPS = ['create', 'migrate', 'backup'] as const;
export type Step = (typeof STEPS)[number];

/** A schema version to come, so that there is something to migrate to. */
export const NEXT_VERSION = {
  version: TENANT_MIGRATIONS.length + 1,
  name: 'turns have a region',
  sql: `ALTER TABLE turns ADD COLUMN region TEXT NOT NULL DEFAULT ''; CREATE INDEX turns_by_region ON turns (region, id);`,
};

export type FleetRequest =
  | { kind: 'open'; folder: string; step: Step }
  /** The step for the tenants from `from` to below `to`, counted in the order of their creation. */
  | { kind: 'run'; step: Step; from: number; to: number }
  | { kind: 'close' };

export interface StepRun {
  ms: number;
}
