export const FINDING_KINDS = [
  'control_damaged',
  'audit_broken',
  'damaged',
  'wrong_owner',
  'other_name',
  'file_without_tenant',
  'tenant_without_file',
  'no_usable_key',
  'master_key_missing',
  'provider_keys_unopenable',
  'permissions',
  'leftover',
  'symlink',
  'unknown_file',
  'without_manifest',
  'without_file',
] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

/** Something that is not as it should be. */
export interface Finding {
  kind: FindingKind;
  tenantId: string | null;
  /** Under the data folder; null where it is not about one file. */
  path: string | null;
  message: string;
  /** Whether `fix` sets it right without a risk to anything. */
  fixable: boolean;
  fixed: boolean;
}

/** Something that may be as it should be once the work is done that is under way with the owner's files. */
export interface Suspicion {
  /** A tenant's id, or the folder of control.db's copies. */
  owner: string;
  /** Looks once more; null: it was only that. */
  confirm(): Promise<Draft | null>;
}

/** What is found, with what sets it right. */
export type Draft = Pick<Finding, 'kind' | 'message'> &
  Partial<Finding> & { repair?: () => Promise<unknown> };

export type Find = (draft: Draft) => Promise<void>;
export type Suspect = (owner: string, confirm: Suspicion['confirm']) => void;
