"""recipes/LOCK: what every published recipe composes to, so that none changes unseen.

python -m slime.config.lock            adds an entry for each recipe that has none
python -m slime.config.lock --check    only says what is wrong
python -m slime.config.lock FOLDER     the same for a folder of your own (named in SLIME_RECIPES)

An entry is never rewritten: publish a new version instead.  (For a recipe that nobody has seen yet,
delete its entry and run the first line again.)
"""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from slime.config.compose import config_loader
from slime.config.diff import changed_values
from slime.config.errors import one_line_errors
from slime.config.fingerprint import Values, fingerprint_of, marked_values
from slime.config.groups import RECIPE
from slime.config.overrides import read_command_line
from slime.config.recipes import recipe_names, user_folders
from slime.config.renamed import current_name
from slime.config.schema import Config, ConfigError
from slime.config.store import register

LOCK = "LOCK"
HEADER = """\
# What every published recipe composes to: its fingerprint, and the values that change training.
# Written by `python -m slime.config.lock`, which adds entries and never changes one.

"""
CHECKOUT = Path(__file__).parents[2]
SHIPPED = CHECKOUT / "recipes"

Compose = Callable[[str], Config]  # the name of a recipe -> its config


@dataclass(frozen=True, slots=True)
class Entry:
    """What the lock says about one recipe."""

    fingerprint: str
    values: Values


def read_lock(folder: Path) -> dict[str, Entry]:
    """The entries of the LOCK in a folder of recipes; none, if there is no such file."""
    file = folder / LOCK
    if not file.exists():
        return {}
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        return {name: Entry(e["fingerprint"], e["values"]) for name, e in entries.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from error


def add_entries(folder: Path, compose: Compose) -> list[str]:
    """Append an entry for each recipe of the folder that has none.  -> their names"""
    names = [name for name in recipe_names(folder) if name not in read_lock(folder)]
    texts = [_text(name, entry_of(compose(name))) for name in names]
    if texts:
        file = folder / LOCK
        before = file.read_text(encoding="utf-8") if file.exists() else HEADER
        file.write_text(before + "".join(texts), encoding="utf-8")
    return names


def entry_of(config: Config) -> Entry:
    """What the lock is to say about a recipe that composes to this config."""
    values = marked_values(config)
    return Entry(fingerprint_of(values), values)


def lock_problems(folder: Path, compose: Compose) -> Iterator[str]:
    """A sentence for each recipe that is not what its entry says, has none, or is gone."""
    entries, names = read_lock(folder), recipe_names(folder)
    for name in names:
        if name not in entries:
            command = f"python -m slime.config.lock {folder}"
            yield f"{name} has no entry in {folder / LOCK}: run {command}"
        else:
            yield from recipe_problems(name, entries[name], entry_of(compose(name)), names)
    for name in entries.keys() - set(names):
        yield f"{folder / LOCK} names {name}, but there is no {name}.yaml: a published recipe stays"


def recipe_problems(
    name: str, locked: Entry, composed: Entry, names: Collection[str]
) -> Iterator[str]:
    """A sentence if a recipe no longer composes to its entry.  names: all recipes that exist."""
    if locked.fingerprint == composed.fingerprint:
        return
    if fingerprint_of(locked.values) != locked.fingerprint:
        yield f"{name}: its entry in {LOCK} was edited: the values do not give the fingerprint"
        return
    locked_values = {current_name(key): value for key, value in locked.values.items()}
    changes = ", ".join(changed_values(locked_values, composed.values))
    yield (
        f"{name} has changed since it was published: {changes}; "
        f"restore it and publish {_next_version(name, names)}"
    )


def _next_version(name: str, names: Collection[str]) -> str:
    family = re.sub(r"\d+$", "", name)
    versions = [n.removeprefix(family) for n in names if n.startswith(family)]
    return f"{family}{max((int(v) for v in versions if v.isdigit()), default=0) + 1}"


def _text(name: str, entry: Entry) -> str:
    body: Mapping[str, object] = {"fingerprint": entry.fingerprint, "values": entry.values}
    return yaml.dump({name: body}, Dumper=_Lines, sort_keys=False, width=1000) + "\n"


class _Lines(yaml.SafeDumper):
    """A line for each value, also for a text of several lines."""


def _text_in_a_line(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Lines.add_representer(str, _text_in_a_line)


def main() -> int:
    """The exit code: 1 if a published recipe has changed."""
    parser = ArgumentParser(prog="python -m slime.config.lock")
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--check", action="store_true", help="write nothing")
    asked = parser.parse_args()
    with one_line_errors():
        register(SHIPPED, *user_folders(), *([] if asked.folder == SHIPPED else [asked.folder]))
        loader = config_loader(CHECKOUT / "conf")

        def compose(name: str) -> Config:
            return read_command_line(loader, [f"{RECIPE}={name}"])

        for name in [] if asked.check else add_entries(asked.folder, compose):
            print(f"{name}: added to {asked.folder / LOCK}")
        problems = list(lock_problems(asked.folder, compose))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
