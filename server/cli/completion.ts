import type { Command } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

interface Place {
  /** The words before, such as `tenant create`. */
  path: string;
  commands: { name: string; summary: string }[];
  /** What its argument may be, where that is one of a few words. */
  choices: readonly string[];
  options: { flag: string; summary: string; choices: readonly string[] }[];
}

function placesOf(command: Command, defaults: ReadonlySet<Command>, path: string[] = []): Place[] {
  const { visibleCommands, visibleOptions } = visible(command);
  // What a group does by itself has its options there too.
  const meant = visibleCommands.filter((child) => defaults.has(child)).map(visible);
  const options = [...meant.flatMap((child) => child.visibleOptions), ...visibleOptions].map((option) => ({
    flag: option.long ?? '',
    summary: option.description,
    choices: option.argChoices ?? [],
  }));
  const place: Place = {
    path: path.join(' '),
    commands: visibleCommands.map((child) => ({ name: child.name(), summary: child.description() })),
    choices: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
    options: [...new Map(options.map((option) => [option.flag, option])).values()],
  };
  return [place, ...visibleCommands.flatMap((child) => placesOf(child, defaults, [...path, child.name()]))];
}

function visible(command: Command) {
  const help = command.createHelp();
  return {
    visibleCommands: help.visibleCommands(command).filter((child) => child.name() !== 'help'),
    visibleOptions: help.visibleOptions(command).filter((option) => option.long),
  };
}

/** Words are told apart by the commands they lead to; arguments and file names are the shell's to complete. */
const words = ({ commands, choices, options }: Place): string =>
  [...commands.map(({ name }) => name), ...choices, ...options.map(({ flag }) => flag)].join(' ');

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function bash(places: readonly Place[]): string {
  const cases = places.map((place) => `    ${quoted(place.path)}) words=${quoted(words(place))} ;;`);
  const values = places.flatMap(({ path, options }) =>
    options
      .filter(({ choices }) => choices.length > 0)
      .map(({ flag, choices }) => `    ${quoted(`${path} ${flag}`)}) words=${quoted(choices.join(' '))} ;;`),
  );
  const paths = places.flatMap(({ path }) => (path === '' ? [] : [quoted(path)]));
  return `# Completion of nimblesite for bash: source <(nimblesite completion bash)
_nimblesite() {
  local current=\${COMP_WORDS[COMP_CWORD]} place='' words='' next at
  for ((at = 1; at < COMP_CWORD; at++)); do
    next="\${place:+$place }\${COMP_WORDS[at]}"
    case "$next" in
      ${paths.join(' | ')}) place=$next ;;
    esac
  done
  case "$place" in
${cases.join('\n')}
  esac
  case "$place \${COMP_WORDS[COMP_CWORD - 1]}" in
${values.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _nimblesite nimblesite
`;
}

/** zsh runs bash's function; its own would say the same in other words. */
const zsh = (places: readonly Place[]): string =>
  `#compdef nimblesite
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
autoload -U +X bashcompinit && bashcompinit
${bash(places)}
# As a file of $fpath it is run by the first completion, which is answered here.
[[ \${funcstack[1]} != _nimblesite ]] || _bash_complete -o default -F _nimblesite
`;

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, commands, choices, options }) => {
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
      ...options.map(({ flag, summary, choices }) => {
        const values = choices.length > 0 ? ` -x -a ${quoted(choices.join(' '))}` : '';
        return `complete -c nimblesite -n ${condition} -l ${flag.replace(/^--/, '')}${values} -d ${quoted(summary)}`;
      }),
      ...choices.map((word) => `complete -c nimblesite -f -n ${condition} -a ${word}`),
    ];
  });
  return `# Completion of nimblesite for fish: nimblesite completion fish | source\n${lines.join('\n')}\n`;
}

/**
 * A script for the shell that completes the commands, options and fixed values of this program.
 * @param defaults the commands that are meant where their name is left out
 */
export function completionScript(
  program: Command,
  shell: (typeof SHELLS)[number],
  defaults: ReadonlySet<Command>,
): string {
  const places = placesOf(program, defaults);
  return { bash, zsh, fish }[shell](places);
}
