import { notifications } from '@mantine/notifications';
import { type QueryKey, useMutation, useQueryClient } from '@tanstack/react-query';

export interface ActionOptions<Input, Result> {
  run: (input: Input) => Promise<Result>;
  /** What is no longer true afterwards. */
  invalidates: readonly QueryKey[];
  /** Told when it is done. */
  done?: string;
  onDone?: (result: Result) => void;
}

/**
 * Something that changes the server's data. The error stays in `error`, for the form that asked; the result goes to
 * `onDone` alone, since some have a secret in them, which would lie in the cache as long as the page is open.
 */
export function useAction<Input = void, Result = unknown>(options: ActionOptions<Input, Result>) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: async (input: Input): Promise<void> => {
      const result = await options.run(input);
      options.onDone?.(result);
      if (options.done !== undefined) notifications.show({ message: options.done });
      await Promise.all(options.invalidates.map((queryKey) => queries.invalidateQueries({ queryKey })));
    },
  });
}
