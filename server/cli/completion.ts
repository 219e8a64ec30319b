import type { Command } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

interface Place {
  /** The words before, such as `tenant create`. */
  path: string;
  commands: { name: string; summary: string }[];
  options: { flag: string; summary: string }[];
}

function placesOf(command: Command, path: string[] = []): Place[] {
  const { visibleCommands, visibleOptions } = visible(command);
  const place: Place = {
    path: path.join(' '),
    commands: visibleCommands.map((child) => ({ name: child.name(), summary: child.description() })),
    options: visibleOptions.map((option) => ({ flag: option.long ?? '', summary: option.description })),
  };
  return [place, ...visibleCommands.flatMap((child) => placesOf(child, [...path, child.name()]))];
}

function visible(command: Command) {
  const help = command.createHelp();
  return {
    visibleCommands: help.visibleCommands(command).filter((child) => child.name() !== 'help'),
    visibleOptions: help.visibleOptions(command).filter((option) => option.long),
  };
}

/** Words are told apart by the commands they lead to; arguments and file names are the shell's to complete. */
const words = ({ commands, options }: Place): string =>
  [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag)].join(' ');

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function bash(places: readonly Place[]): string {
  const cases = places.map((place) => `    ${quoted(place.path)}) words=${quoted(words(place))} ;;`);
  const inner = places.filter(({ commands }) => commands.length > 0).map(({ path }) => path || 'nimblesite');
  return `# Completion of nimblesite for bash: source <(nimblesite completion bash)
_nimblesite() {
  local current=\${COMP_WORDS[COMP_CWORD]} place='' words='' word at
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    case "\${place:-nimblesite}" in
      ${inner.map(quoted).join(' | ')}) [[ $word == -* ]] || place="\${place:+$place }$word" ;;
    esac
  done
  case "$place" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _nimblesite nimblesite
`;
}

/** zsh runs bash's function; its own would say the same in other words. */
const zsh = (places: readonly Place[]): string =>
  `#compdef nimblesite
autoload -U +X bashcompinit && bashcompinit
${bash(places)}`;

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, commands, options }) => {
    const before = path === '' ? [] : path.split(' ');
    const here = before.map((word) => `__fish_seen_subcommand_from ${word}`);
    const notYet =
      commands.length > 0
        ? [`not __fish_seen_subcommand_from ${commands.map(({ name }) => name).join(' ')}`]
        : [];
    const condition = quoted([...here, ...notYet].join('; and ') || 'true');
    return [
      ...commands.map(
        ({ name, summary }) => `complete -c nimblesite -f -n ${condition} -a ${name} -d ${quoted(summary)}`,
      ),
      ...options.map(
        ({ flag, summary }) =>
          `complete -c nimblesite -n ${condition} -l ${flag.replace(/^--/, '')} -d ${quoted(summary)}`,
      ),
    ];
  });
  return `# Completion of nimblesite for fish: nimblesite completion fish | source\n${lines.join('\n')}\n`;
}

/** A script for the shell that completes the commands and options of this program. */
export function completionScript(program: Command, shell: (typeof SHELLS)[number]): string {
  const places = placesOf(program);
  return { bash, zsh, fish }[shell](places);
}
