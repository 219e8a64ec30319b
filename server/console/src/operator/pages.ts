/** The operator's pages, in the order of the navigation. */
export const operatorPages = [
  { label: 'Overview', to: '/overview' },
  { label: 'Tenants', to: '/tenants' },
  { label: 'Fleet', to: '/fleet' },
  { label: 'Audit', to: '/audit' },
] as const;
