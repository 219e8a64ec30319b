/** How many days the charts may look back. */
export const SPANS = ['7', '30', '90'] as const;
