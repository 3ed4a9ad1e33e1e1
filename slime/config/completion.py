"""What a shell offers for the word that is being typed: groups, choices, keys and values.

    eval "$(python launch.py --completion bash)"

Knows the table of groups and the schemas; neither Hydra nor OmegaConf is imported, because a person
is waiting.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from slime.config.groups import BY_NAME, BY_NODE, GROUPS, RECIPE
from slime.config.keys import every_field, join
from slime.config.schema import Node

ROOT = Path(__file__).parents[2]
FLAGS = ("--multirun", "--cfg", "--package", "--resolve", "--completion", "--help")
OF_HYDRA = {
    "hydra/launcher": ("basic", "joblib", "submitit_local", "submitit_slurm", "ray"),
    "hydra/sweeper": ("basic", "optuna"),
    "hydra.run.dir": (),
    "hydra.sweep.dir": (),
}


def completions(words: Sequence[str], recipes: Sequence[str]) -> list[str]:
    """What may stand in the place of the last of `words`, the arguments so far.

    recipes: the names that recipe= takes.
    One that ends with . / or = goes on; the shell puts no space after it.
    """
    *before, word = words or [""]
    if word.startswith("-"):
        return [flag for flag in FLAGS if flag.startswith(word)]
    key, equals, value = word.partition("=")
    if equals:
        done, comma, _ = value.rpartition(",")  # a sweep names several
        start = f"{key}={done}{comma}"
        offered = [f"{start}{each}" for each in _values(key, recipes)]
    else:
        offered = list(_next_parts(word, _names(_chosen(before))))
    return sorted({each for each in offered if each.startswith(word)})


def script(shell: str, launcher: Path) -> str:
    """What the shell has to evaluate.  launcher: the absolute path of launch.py."""
    ask = f'"{sys.executable}" -m slime.config.completion'
    text = _BASH.replace("ASK", ask).replace("ROOT", str(launcher.parent))
    return f"autoload -U bashcompinit && bashcompinit\n{text}" if shell == "zsh" else text


def main() -> None:
    """Print a line for each completion of the last argument."""
    for line in completions(sys.argv[1:], _recipes()):
        print(line)


def _values(key: str, recipes: Sequence[str]) -> Iterator[str]:
    """What is known of the right side of `key=`."""
    if key in BY_NAME:
        yield from BY_NAME[key].options
    elif key == RECIPE:
        yield from recipes
    elif key in OF_HYDRA:
        yield from OF_HYDRA[key]
    for node, _, field in every_field():
        if join(node, field.name) == key:
            yield from _members(field)


def _members(field: Field[Any]) -> Iterator[str]:
    if field.type is bool:
        yield from ("true", "false")
    elif isinstance(field.type, type) and issubclass(field.type, Enum):
        yield from field.type.__members__


def _names(chosen: Mapping[str, type[Node]]) -> Iterator[str]:
    """Every group, and every key that is legal under these classes."""
    yield from (f"{name}=" for name in (*BY_NAME, RECIPE, *OF_HYDRA))
    for node, schema, field in every_field():
        if node not in BY_NODE or chosen[node] is schema:
            yield f"{join(node, field.name)}="


def _next_parts(word: str, names: Iterator[str]) -> Iterator[str]:
    """Of every name that starts with `word`, as far as its next dot, slash or equals sign."""
    for name in names:
        if name.startswith(word):
            ends = [name.find(mark, len(word)) for mark in "./="]
            yield name[: min(end for end in ends if end >= 0) + 1]


def _chosen(words: Sequence[str]) -> dict[str, type[Node]]:
    """The class of every node that a group fills: as the words choose, a recipe, conf/config.yaml.

    Of a choice that is swept the last one counts.
    """
    written = dict(word.split("=", 1) for word in words if "=" in word)
    choices = _defaults(ROOT / "conf" / "config.yaml") | _of_recipe(written.get(RECIPE, ""))
    choices |= {name: value.rpartition(",")[2] for name, value in written.items()}
    return {
        group.node: next(
            (choice.schema for choice in group.choices if choice.name == choices.get(group.name)),
            group.choices[0].schema,
        )
        for group in GROUPS
    }


def _of_recipe(name: str) -> dict[str, str]:
    """What the recipe chooses, and the recipes that it builds on; nothing for one that is not."""
    file = next((f / f"{name}.yaml" for f in _folders() if (f / f"{name}.yaml").is_file()), None)
    return _defaults(file) if name and file is not None else {}


def _defaults(file: Path) -> dict[str, str]:
    chosen: dict[str, str] = {}
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    for entry in values.get("defaults", []) if isinstance(values, dict) else []:
        if isinstance(entry, dict):
            chosen |= {str(k).removeprefix("override /"): str(v) for k, v in entry.items()}
        elif str(entry).startswith(f"/{RECIPE}/"):
            chosen |= _of_recipe(str(entry).removeprefix(f"/{RECIPE}/"))
    return chosen


def _recipes() -> list[str]:
    return [
        file.relative_to(folder).with_suffix("").as_posix()
        for folder in _folders()
        for file in sorted(folder.rglob("*.yaml"))
    ]


def _folders() -> list[Path]:
    """slime's recipes, and those of the folders in SLIME_RECIPES."""
    own = os.environ.get("SLIME_RECIPES", "").split(os.pathsep)
    return [ROOT / "recipes", *(Path(name).expanduser() for name in own if name)]


# Bash cuts words at = and :, and replaces only the piece after the last cut.
_BASH = r"""_slime_launch() {
    local line=${COMP_LINE:0:COMP_POINT} words word piece
    read -r -a words <<< "$line"
    [[ $line == *" " ]] && words+=("")
    [[ ${words[0]##*/} == python* ]] && words=("${words[@]:1}")
    [[ ${words[0]##*/} == launch.py ]] || return 0
    word=${words[${#words[@]}-1]}
    local IFS=$'\n'
    COMPREPLY=($(cd "ROOT" && ASK "${words[@]:1}" 2>/dev/null))
    piece=${word%"${word##*[=:]}"}
    [[ $COMP_WORDBREAKS == *"="* ]] && COMPREPLY=("${COMPREPLY[@]#"$piece"}")
    [[ ${#COMPREPLY[@]} == 1 && $COMPREPLY != *[./=] ]] && COMPREPLY=("$COMPREPLY ")
    return 0
}
complete -o nospace -o default -F _slime_launch python python3 ./launch.py launch.py
"""

if __name__ == "__main__":
    main()
