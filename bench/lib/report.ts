import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Verdict } from './figures.ts';

/** How a scenario ends that this server has nothing for. */
export const NOT_APPLICABLE = 3;

export interface Report {
  /** Names the files in `bench/results/`. */
  name: string;
  title: string;
  /** What was measured, in a sentence or two. */
  about: string;
  head: readonly string[];
  rows: readonly (readonly string[])[];
  /** Each with what it should be and whether it is. */
  goals: readonly { goal: string; found: string; verdict: Verdict }[];
  /** Everything that was measured. */
  data: object;
}

const WORDS: Readonly<Record<Verdict, string>> = {
  met: 'met',
  missed: '**missed**',
  unclear: '**not told by this run**: its repetitions differ too much, or are too short',
};

const say = (text: string): void => {
  process.stdout.write(text);
};

/** One line that says how far a long run is; on a terminal it replaces the one before. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  else process.stderr.write(`${text}\n`);
}

/** Prints the table and writes it, with the figures behind it, to `bench/results/`. */
export function publish(report: Report): void {
  const table = [report.head, report.head.map(() => '---'), ...report.rows];
  const markdown = [
    `### ${report.title}`,
    '',
    report.about,
    '',
    ...table.map((row) => `| ${row.join(' | ')} |`),
    '',
    ...report.goals.map(({ goal, found, verdict }) => `- ${goal}: ${found}, ${WORDS[verdict]}.`),
    '',
  ].join('\n');
  const folder = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}${report.name}.md`, markdown);
  const machine = { processors: cpus().length, node: process.version, platform: process.platform };
  const json = { name: report.name, machine, goals: report.goals, ...report.data };
  writeFileSync(`${folder}${report.name}.json`, `${JSON.stringify(json, null, 2)}\n`);
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  say(`${markdown}\n`);
}
