import { SegmentedControl } from '@mantine/core';

export interface SpanPickerProps<Span extends string> {
  spans: readonly Span[];
  value: Span;
  onChange: (span: Span) => void;
}

/** How many days a page looks back. */
export function SpanPicker<Span extends string>({ spans, value, onChange }: SpanPickerProps<Span>) {
  return (
    <SegmentedControl
      aria-label="Days shown"
      value={value}
      onChange={onChange}
      data={spans.map((span) => ({ value: span, label: `${span} days` }))}
    />
  );
}
