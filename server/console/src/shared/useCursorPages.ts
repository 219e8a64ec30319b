import { keepPreviousData, type QueryKey, useQuery } from '@tanstack/react-query';
import { useLocation, useNavigate } from '@tanstack/react-router';

/** Where a reader is in a list: the cursors of the pages so far, without the first, which has none. */
interface ListPosition {
  list: string;
  cursors: readonly string[];
}

declare module '@tanstack/react-router' {
  interface HistoryState {
    pages?: ListPosition;
  }
}

/** What every list of the API answers. */
export interface Listing<Row> {
  data: Row[];
  next_cursor: string | null;
}

export interface CursorPages<Row> {
  rows: Row[] | undefined;
  error: unknown;
  isFetching: boolean;
  retry: () => void;
  /** From 1. */
  page: number;
  hasNext: boolean;
  next: () => void;
  previous: () => void;
}

/**
 * A list, page by page; another key begins at its first page again. The position is kept in the browser's history: who
 * comes back from what a row leads to is on the page that they left, also after a reload. An entry of the history keeps
 * one position: of two such lists in view, turning one sets the other back to its first page.
 * @param fetchPage gets the cursor as the API's query has it
 */
export function useCursorPages<Row>(
  key: QueryKey,
  fetchPage: (cursor: { cursor?: string }, signal: AbortSignal) => Promise<Listing<Row>>,
): CursorPages<Row> {
  const list = JSON.stringify(key);
  const navigate = useNavigate();
  const at = useLocation({ select: ({ state }) => state.pages });
  const cursors = at?.list === list ? at.cursors : [];
  const goTo = (position: ListPosition) =>
    void navigate({ to: '.', search: true, state: (before) => ({ ...before, pages: position }) });
  const cursor = cursors.at(-1);
  const query = useQuery({
    queryKey: [...key, { cursor: cursor ?? null }],
    queryFn: ({ signal }) => fetchPage(cursor === undefined ? {} : { cursor }, signal),
    // The table stands still while the next page comes.
    placeholderData: keepPreviousData,
  });
  const next = query.data?.next_cursor ?? null;
  return {
    rows: query.data?.data,
    error: query.error,
    isFetching: query.isFetching,
    retry: () => void query.refetch(),
    page: cursors.length + 1,
    hasNext: next !== null,
    next: () => next !== null && goTo({ list, cursors: [...cursors, next] }),
    previous: () => goTo({ list, cursors: cursors.slice(0, -1) }),
  };
}
