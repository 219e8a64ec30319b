import { Button, Group, Text } from '@mantine/core';
import { DataTable, type DataTableProps } from './DataTable.tsx';
import type { CursorPages } from './useCursorPages.ts';

export type PagedTableProps<Row> = Omit<DataTableProps<Row>, 'rows' | 'error' | 'onRetry'> & {
  pages: CursorPages<Row>;
};

/** A table of a list that comes page by page. */
export function PagedTable<Row>({ pages, ...table }: PagedTableProps<Row>) {
  const isPaged = pages.page > 1 || pages.hasNext;
  return (
    <>
      <DataTable {...table} rows={pages.rows} error={pages.error} onRetry={pages.retry} />
      {isPaged && (
        <Group component="nav" justify="flex-end" mt="md" gap="sm" aria-label={`Pages of ${table.label}`}>
          <Text size="sm" c="dimmed" aria-live="polite">
            Page {pages.page}
          </Text>
          <Button variant="default" size="sm" disabled={pages.page === 1} onClick={pages.previous}>
            Previous
          </Button>
          <Button
            variant="default"
            size="sm"
            disabled={!pages.hasNext}
            loading={pages.isFetching && pages.rows !== undefined}
            onClick={pages.next}
          >
            Next
          </Button>
        </Group>
      )}
    </>
  );
}
