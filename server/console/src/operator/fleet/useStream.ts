import { useEffect, useRef, useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { readEvents, type StreamEvent } from '../../api/events.ts';
import { ApiError } from '../../api/problem.ts';
import { useApi } from '../../session/context.ts';

export interface Progress {
  done: number;
  total: number;
}

export interface StreamedWork<Done> {
  state: 'idle' | 'running' | 'done' | 'failed';
  progress: Progress | null;
  result: Done | null;
  error: unknown;
  start: (body: object) => Promise<void>;
  stop: () => void;
}

/**
 * Work on many files, of which the server tells as it goes.
 * @param onEvent gets what is neither progress nor the end
 */
export function useStream<Done>(path: string, onEvent: (event: StreamEvent) => void): StreamedWork<Done> {
  const api = useApi();
  const running = useRef<AbortController | null>(null);
  const [work, setWork] = useState<Omit<StreamedWork<Done>, 'start' | 'stop'>>({
    state: 'idle',
    progress: null,
    result: null,
    error: null,
  });
  const stop = (): void => running.current?.abort();
  // Nobody watches any more: the server ends the work.
  useEffect(() => () => running.current?.abort(), []);

  const start = async (body: object): Promise<void> => {
    const controller = new AbortController();
    running.current = controller;
    setWork({ state: 'running', progress: null, result: null, error: null });
    let isDone = false;
    try {
      const response = await api.send(path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: controller.signal,
      });
      for await (const event of readEvents(response)) {
        const { name, data } = event;
        if (name === 'progress') setWork((before) => ({ ...before, progress: data as Progress }));
        else if (name === 'done') {
          isDone = true;
          setWork((before) => ({ ...before, state: 'done', result: data as Done }));
        } else if (name === 'error') throw new ApiError(data as Schema<'Problem'>);
        else onEvent(event);
      }
      if (!isDone) throw new Error('The server stopped telling of it before its end.');
    } catch (error) {
      // What has ended is not undone by how its connection did.
      if (isDone) return;
      if (controller.signal.aborted) setWork((before) => ({ ...before, state: 'idle' }));
      else setWork((before) => ({ ...before, state: 'failed', error }));
    }
  };
  return { ...work, start, stop };
}
