/** The tenant's pages, in the order of the navigation. */
export const tenantPages = [
  { label: 'Playground', to: '/playground' },
  { label: 'Configs', to: '/configs' },
  { label: 'Conversations', to: '/conversations' },
  { label: 'Logs', to: '/logs' },
  { label: 'Usage', to: '/usage' },
  { label: 'Keys', to: '/keys' },
  { label: 'Limits', to: '/limits' },
  { label: 'Export', to: '/export' },
] as const;
