import { Button } from '@mantine/core';
import { useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { DataTable } from '../../shared/DataTable.tsx';
import { formatBytes, formatCount } from '../../shared/format.ts';
import { useStream } from './useStream.ts';
import { WorkPanel } from './WorkPanel.tsx';

type Finding = Schema<'Finding'>;

/** More than anybody reads; the summary counts them all. */
const SHOWN_MAX = 200;

/** Checks every file, and sets right what is safe. */
export function DoctorPanel() {
  const [findings, setFindings] = useState<Finding[]>([]);
  const work = useStream<Schema<'RunDoctorAnswer'>>('/api/v1/admin/doctor', ({ name, data }) => {
    if (name === 'finding') setFindings((before) => [...before, data as Finding].slice(0, SHOWN_MAX));
  });
  const start = (fix: boolean) => () => {
    setFindings([]);
    return work.start({ fix });
  };
  return (
    <WorkPanel
      title="Check all files"
      description="Looks whether each file is whole and where it belongs. Setting right touches only what is safe: modes, names, left-overs."
      work={work}
      actions={
        <>
          <Button variant="default" onClick={start(true)}>
            Check and set right
          </Button>
          <Button onClick={start(false)}>Check</Button>
        </>
      }
      summary={({ checked, size_bytes, findings: count, fixed }) =>
        `${formatCount(checked)} files with ${formatBytes(size_bytes)} checked: ${count === 0 ? 'all is well' : `${count} findings, ${fixed} set right`}.`
      }
    >
      {findings.length > 0 && (
        <DataTable
          label="Findings"
          rows={findings}
          rowKey={({ kind, path, tenant_id, message }) => `${kind} ${path} ${tenant_id} ${message}`}
          empty={null}
          columns={[
            { header: 'Finding', cell: ({ kind }) => kind.replaceAll('_', ' ') },
            { header: 'Where', cell: ({ path, tenant_id }) => path ?? tenant_id ?? 'the server' },
            { header: 'What', cell: ({ message }) => message },
            {
              header: 'Set right',
              cell: ({ fixed, fixable }) => (fixed ? 'yes' : fixable ? 'can be' : 'by hand'),
            },
          ]}
        />
      )}
    </WorkPanel>
  );
}
