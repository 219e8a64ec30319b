import { Box, Skeleton, Table } from '@mantine/core';
import type { ReactNode } from 'react';
import classes from './DataTable.module.css';
import { ErrorAlert } from './ErrorAlert.tsx';

export interface Column<Row> {
  header: string;
  cell: (row: Row) => ReactNode;
  /** Figures stand at the right. */
  numeric?: boolean;
}

export interface DataTableProps<Row> {
  /** What the table lists, for who cannot see it. */
  label: string;
  columns: readonly Column<Row>[];
  /** Undefined while nothing is there yet. */
  rows: readonly Row[] | undefined;
  rowKey: (row: Row) => string;
  error?: unknown;
  onRetry?: () => void;
  /** What stands in the place of no rows. */
  empty: ReactNode;
  /** In pixels; what is narrower scrolls sideways. */
  minWidth?: number;
  /** How many rows of skeleton. */
  expected?: number;
}

/** A table with its four states: loading, failed, empty, filled. */
export function DataTable<Row>(props: DataTableProps<Row>) {
  const { label, columns, rows, rowKey, error, onRetry, empty, minWidth = 640, expected = 5 } = props;
  if (error && !rows) return <ErrorAlert error={error} {...(onRetry && { onRetry })} />;
  if (rows?.length === 0) return empty;
  return (
    // A region that scrolls must be reachable by keyboard.
    <Box className={classes.scroll} role="region" aria-label={label} tabIndex={0}>
      <Table miw={minWidth} verticalSpacing="xs" highlightOnHover aria-busy={rows === undefined}>
        <Table.Thead>
          <Table.Tr>
            {columns.map(({ header, numeric }) => (
              <Table.Th key={header} {...(numeric && { className: classes.numeric })}>
                {header}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows?.map((row) => (
            <Table.Tr key={rowKey(row)}>
              {columns.map(({ header, cell, numeric }) => (
                <Table.Td key={header} {...(numeric && { className: classes.numeric })}>
                  {cell(row)}
                </Table.Td>
              ))}
            </Table.Tr>
          )) ?? <SkeletonRows columns={columns.map(({ header }) => header)} count={expected} />}
        </Table.Tbody>
      </Table>
    </Box>
  );
}

function SkeletonRows({ columns, count }: { columns: string[]; count: number }) {
  return Array.from({ length: count }, (_, row) => `skeleton ${row}`).map((key) => (
    <Table.Tr key={key}>
      {columns.map((header) => (
        <Table.Td key={header}>
          <Skeleton height={16} my={4} />
        </Table.Td>
      ))}
    </Table.Tr>
  ));
}
