/** The tenant's pages, in the order of the navigation. */
export const tenantPages = [{ label: 'Playground', to: '/playground' }] as const;
