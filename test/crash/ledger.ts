/** Where a tenant may be. `gone`: purged. */
export type Place = 'live' | 'deleted' | 'gone';

/** What is known of a tenant, and what of it the operations of a round leave open. */
export interface Customer {
  id: string;
  name: string;
  configId: string;
  /** Null where the answer that told it was lost. */
  apiKey: string | null;
  /** One entry, but between an operation's beginning and what is found out about its end. */
  places: Set<Place>;
  contents: Set<string>;
  /** Every content that it has had or may have had: what its backups may hold. */
  history: Set<string>;
  /** Backups by id, with what they hold. */
  backups: Map<string, string>;
  /** Backups that were acknowledged in this round, with what they may hold. */
  promised: Map<string, Set<string>>;
}

/** A tenant that a clone or an import makes, and that is there whole or not at all. */
export interface Newcomer {
  /** Given to no other tenant. */
  name: string;
  configId: string;
  /** Looked at when the round is over: the source may change while it is copied. */
  contents: Set<string>;
  acknowledged: { id: string; apiKey: string } | null;
}

/** Everything that the server has acknowledged, and what it may have done without having said so. */
export interface Ledger {
  customers: Map<string, Customer>;
  newcomers: Newcomer[];
  /** Keys that have died with their tenant; none may come back. */
  deadKeys: string[];
}

export const newCustomer = (
  known: Pick<Customer, 'id' | 'name' | 'configId' | 'apiKey'>,
  content: string,
): Customer => ({
  ...known,
  places: new Set(['live']),
  contents: new Set([content]),
  history: new Set([content]),
  backups: new Map(),
  promised: new Map(),
});

export const only = <T>(values: Iterable<T>): T => {
  const [value, ...others] = values;
  if (value === undefined || others.length > 0) throw new Error('Not one value.');
  return value;
};

export const isAt = (place: Place) => (customer: Customer) => only(customer.places) === place;
