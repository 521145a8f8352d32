"""`ingot completion`: scripts by which shells complete commands, options and file names."""

import argparse

from .parser import make_parser
from .result import Result

__all__ = ["command"]


def command(options: argparse.Namespace) -> Result:
    """The script for a shell, made from the parser, so that it is never behind."""
    commands = _commands(make_parser())
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](commands)
    return Result(script, {"shell": options.shell, "script": script})


Commands = dict[str, tuple[str, list[str], list[str]]]


def _commands(parser: argparse.ArgumentParser) -> Commands:
    """By command: what it does, its options, and the words that it takes."""
    found: Commands = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                flags = [flag for a in sub._actions for flag in a.option_strings]
                words = [str(c) for a in sub._actions if not a.option_strings for c in a.choices or ()]
                found[name] = (sub.description or "", flags, words)
    return found


def _bash(commands: Commands) -> str:
    cases = "\n".join(
        f"        {name}) words='{' '.join([*flags, *words])}' ;;" for name, (_, flags, words) in commands.items()
    )
    return f"""_ingot() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W '{" ".join(commands)} --help --version' -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _ingot ingot"""


def _zsh(commands: Commands) -> str:
    names = "\n".join(f"        '{name}:{_plain(summary)}'" for name, (summary, _, _) in commands.items())
    cases = "\n".join(
        f"        {name}) compadd -- {' '.join([*flags, *words])}; _files ;;"
        for name, (_, flags, words) in commands.items()
    )
    return f"""#compdef ingot
_ingot() {{
    local -a commands=(
{names}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    case $words[2] in
{cases}
    esac
}}
compdef _ingot ingot"""


def _fish(commands: Commands) -> str:
    lines = []
    for name, (summary, flags, words) in commands.items():
        lines.append(f"complete -c ingot -n __fish_use_subcommand -f -a {name} -d '{_plain(summary)}'")
        for flag in flags:
            option = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"complete -c ingot -n '__fish_seen_subcommand_from {name}' {option}")
        if words:
            lines.append(f"complete -c ingot -n '__fish_seen_subcommand_from {name}' -f -a '{' '.join(words)}'")
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace("'", "").replace(":", ",")
