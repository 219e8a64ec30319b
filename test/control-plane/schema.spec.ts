import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import {
  adminTokens,
  apiKeys,
  audit,
  auditHead,
  providerKeys,
  sessions,
  tenants,
  usageDays,
  usageDayTotals,
  usageState,
} from '../../control-plane/tables.ts';
import { expectSchemaToMatch } from '../support/schema-match.ts';
import { createFixture } from './setup.ts';

const TABLES = [
  tenants,
  apiKeys,
  adminTokens,
  providerKeys,
  sessions,
  audit,
  auditHead,
  usageDays,
  usageDayTotals,
  usageState,
];

describe('control.db', () => {
  it('has the tables that drizzle was told of', () => {
    const fixture = createFixture();
    const db = new Database(fixture.path);
    try {
      expectSchemaToMatch(db, TABLES);
      db.exec('ALTER TABLE audit ADD COLUMN extra TEXT');
      expect(() => expectSchemaToMatch(db, TABLES)).to.throw(/audit/);
    } finally {
      db.close();
      fixture.remove();
    }
  });

  it('can be read by its owner only, whatever the umask', () => {
    for (const umask of [0o000, 0o022, 0o077]) {
      const before = process.umask(umask);
      try {
        const fixture = createFixture();
        const modes = readdirSync(fixture.folder).map((name) => [
          name,
          (statSync(join(fixture.folder, name)).mode & 0o777).toString(8),
        ]);
        fixture.remove();
        expect(modes).to.deep.equal([
          ['control.db', '600'],
          ['control.db-shm', '600'],
          ['control.db-wal', '600'],
        ]);
      } finally {
        process.umask(before);
      }
    }
  });

  it('is one file after a clean close', () => {
    const fixture = createFixture();
    fixture.addTenant();
    fixture.control.close();
    expect(readdirSync(fixture.folder)).to.deep.equal(['control.db']);
    fixture.remove();
  });
});
