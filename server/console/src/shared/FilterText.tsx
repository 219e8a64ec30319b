import { TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { useEffect, useRef, useState } from 'react';

export interface FilterTextProps {
  label: string;
  placeholder?: string;
  /** What stands in the address. */
  value: string | undefined;
  /** Called when the typing pauses. */
  onChange: (value: string | undefined) => void;
}

const PAUSE_MS = 300;

/** A text that filters a list by way of the address. */
export function FilterText({ label, placeholder, value = '', onChange }: FilterTextProps) {
  const [text, setText] = useState(value);
  const told = useRef(value);
  const tell = useDebouncedCallback((next: string) => {
    told.current = next.trim();
    onChange(told.current === '' ? undefined : told.current);
  }, PAUSE_MS);
  useEffect(() => {
    // Somebody else changed the address: the back button, a link.
    if (value !== told.current) {
      told.current = value;
      setText(value);
    }
  }, [value]);
  return (
    <TextInput
      type="search"
      label={label}
      {...(placeholder !== undefined && { placeholder })}
      value={text}
      onChange={({ currentTarget }) => {
        setText(currentTarget.value);
        tell(currentTarget.value);
      }}
    />
  );
}
