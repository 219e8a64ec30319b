import { Fault, type InputError, type OpenCall } from './fault.ts';
import type { ToolResult } from './store.ts';

/** An open call with the client's answer to it. */
export interface AnsweredCall {
  call: OpenCall;
  content: string;
  isError: boolean;
}

/** What a call is answered with when the client goes on without it. */
export const CANCELLED_CONTENT = 'The call was cancelled by the user.';

/**
 * Pairs every open call with exactly one result, in the order of the calls.
 * @throws `validation_failed` that names every fault and lists the open calls.
 */
export function matchToolResults(openCalls: OpenCall[], results: ToolResult[]): AnsweredCall[] {
  const errors: InputError[] = [];
  if (openCalls.length === 0) errors.push({ path: 'tool_results', message: 'no call waits for a result' });
  const answers = new Map<string, ToolResult>();
  results.forEach((result, index) => {
    const found = findCall(openCalls, result, `tool_results.${index}`);
    if ('path' in found) {
      errors.push(found);
    } else if (answers.has(found.id)) {
      errors.push({
        path: `tool_results.${index}`,
        message: `the call "${found.id}" is answered more than once`,
      });
    } else {
      answers.set(found.id, result);
    }
  });

  const answered: AnsweredCall[] = [];
  for (const call of openCalls) {
    const result = answers.get(call.id);
    if (result) answered.push({ call, content: result.content, isError: result.isError });
    else errors.push({ path: 'tool_results', message: `the call "${call.id}" (${call.name}) has no result` });
  }
  if (errors.length > 0) {
    throw new Fault(
      'validation_failed',
      'The tool results do not answer exactly the open calls; "open_calls" lists those.',
      { details: { errors, openCalls } },
    );
  }
  return answered;
}

function findCall(openCalls: OpenCall[], result: ToolResult, path: string): OpenCall | InputError {
  if (result.toolCallId !== undefined) {
    const call = openCalls.find(({ id }) => id === result.toolCallId);
    return call ?? { path: `${path}.tool_call_id`, message: `there is no open call "${result.toolCallId}"` };
  }
  if (result.name === undefined) {
    return { path: `${path}.tool_call_id`, message: 'a result needs a tool_call_id, or a name' };
  }
  const [call, second] = openCalls.filter(({ name }) => name === result.name);
  if (!call) return { path: `${path}.name`, message: `there is no open call of "${result.name}"` };
  if (second) {
    return {
      path: `${path}.tool_call_id`,
      message: `"${result.name}" has several open calls: say which one with tool_call_id`,
    };
  }
  return call;
}
