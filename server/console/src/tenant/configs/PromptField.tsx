import { Textarea } from '@mantine/core';
import { BUILT_IN_VARIABLES, partsOf } from '../template.ts';
import classes from './Prompt.module.css';

export interface PromptFieldProps {
  value: string;
  onChange: (value: string) => void;
  readOnly: boolean;
  error: string | undefined;
}

const ROWS_MIN = 8;
const CHARS_MAX = 200_000;

/** The system prompt, with its template variables marked as it is typed. */
export function PromptField({ value, onChange, readOnly, error }: PromptFieldProps) {
  return (
    <Textarea
      label="System prompt"
      description="A name in braces is filled in: {tenant_name}, {agent_name} and {date} by the server, others by the request."
      error={error}
      autosize
      minRows={ROWS_MIN}
      maxLength={CHARS_MAX}
      spellCheck={false}
      readOnly={readOnly}
      value={value}
      onChange={({ currentTarget }) => onChange(currentTarget.value)}
      classNames={{ input: classes.field ?? '' }}
      inputContainer={(input) => (
        <div className={`${classes.layers} ${classes.under}`}>
          <div className={classes.marks} aria-hidden="true">
            <Marked template={value} />
          </div>
          {input}
        </div>
      )}
    />
  );
}

const classOf = (variable: string): string =>
  (BUILT_IN_VARIABLES.includes(variable) ? classes.variable : classes.custom) ?? '';

function Marked({ template }: { template: string }) {
  return partsOf(template).map(({ at, text, variable }) =>
    variable === null ? (
      text
    ) : (
      <mark key={at} className={classOf(variable)}>
        {text}
      </mark>
    ),
  );
}

export interface PromptPreviewProps {
  template: string;
  /** What is filled in; what is not here stays as it is written. */
  values: Record<string, string>;
}

/** The prompt as the model gets it. */
export function PromptPreview({ template, values }: PromptPreviewProps) {
  if (template === '') return 'There is no system prompt.';
  return partsOf(template).map(({ at, text, variable }) => {
    if (variable === null) return text;
    const value = Object.hasOwn(values, variable) ? values[variable] : undefined;
    return (
      <mark key={at} className={classOf(variable)}>
        {value === undefined || value === '' ? text : value}
      </mark>
    );
  });
}
