import { Button, FileButton, Group, Stack, Text } from '@mantine/core';
import { type DragEvent, useState } from 'react';
import classes from './FileDrop.module.css';
import { formatBytes } from './format.ts';

export interface FileDropProps {
  /** What may be dropped here. */
  label: string;
  file: File | null;
  onChange: (file: File) => void;
}

/** Takes a file, dropped or chosen. */
export function FileDrop({ label, file, onChange }: FileDropProps) {
  const [isOver, setOver] = useState(false);
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    const dropped = event.dataTransfer.files[0];
    if (dropped) onChange(dropped);
  };
  const over = (event: DragEvent): void => {
    event.preventDefault();
    setOver(true);
  };
  return (
    <Stack
      className={classes.drop}
      data-over={isOver || undefined}
      align="center"
      gap="xs"
      p="xl"
      role="group"
      aria-label={label}
      onDragOver={over}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <Text ta="center">{file ? `${file.name} (${formatBytes(file.size)})` : label}</Text>
      <Group>
        <FileButton onChange={(chosen) => chosen && onChange(chosen)}>
          {(button) => (
            <Button variant="default" {...button}>
              {file ? 'Choose another' : 'Choose a file'}
            </Button>
          )}
        </FileButton>
      </Group>
    </Stack>
  );
}
