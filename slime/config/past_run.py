"""A run directory of earlier -> a recipe that composes to the same values today.

Defaults may have changed since, keys may have new names, and some the run did not know.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from slime.config.fingerprint import ERRAND
from slime.config.groups import BY_NAME, BY_NODE, RECIPE, Group, field_names
from slime.config.interpolation import literal
from slime.config.keys import is_label, join
from slime.config.names import unknown_choice, unknown_key
from slime.config.recipe_file import load
from slime.config.renamed import with_current_names
from slime.config.run_record import RECORD, read_record, slime_version
from slime.config.schema import Config, ConfigError, Node
from slime.config.schema.base import NO_NEUTRAL
from slime.config.store import register_values

RESOLVED = "resolved.yaml"
NAME = "_run_"  # of the recipe that a past run becomes, for as long as one command lasts
PAST_RUN = f"{RECIPE}={NAME}"
NOT_AGAIN = ERRAND | {
    "rollout.save",  # the run wrote there; another one may not
    "cluster.address",  # whoever runs a Ray cluster can run code in those who join it
    "cluster.allowed_imports",  # a promise of whoever typed it, not of the run
}
_NOT_CHOSEN_AGAIN = "cluster"


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a run directory says about its config."""

    folder: Path
    record: dict[str, Any]  # run.json
    values: dict[str, Any]  # resolved.yaml, under the names that keys have today

    @property
    def file(self) -> Path:
        return self.folder / RESOLVED


def read_run(key: str, name: str) -> PastRun:
    """The run in the folder `name`.

    key: the one that names it, for the message.  Raises ConfigError if there is no run, or if one
    of its files cannot be read.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{key}={name}: there is no such folder")
    if not (folder / RECORD).is_file():
        jobs = [file.parent for file in sorted(folder.glob(f"*/{RECORD}"))]
        hint = f"; it holds several: write {key}={jobs[0]}" if jobs else ""
        raise ConfigError(f"{key}={name} is not a run directory: it has no {RECORD}{hint}")
    record = read_record(folder / RECORD)
    if not (folder / RESOLVED).is_file():
        raise ConfigError(f"{key}={name} is not a whole run directory: it has no {RESOLVED}")
    values = with_current_names(load(folder / RESOLVED), folder / RESOLVED)
    plain = OmegaConf.to_container(values, resolve=False)
    assert isinstance(plain, dict)
    return PastRun(folder, record, {str(key): value for key, value in plain.items()})


def register_run(run: PastRun) -> None:
    """Let PAST_RUN, as an override, select the values of this run; see recipe_of()."""
    register_values(NAME, recipe_of(run), run.file)


def recipe_of(run: PastRun) -> DictConfig:
    """The run as a recipe.

    Raises ConfigError, a line for each group, choice or key of the run that is no more.
    """
    choices = dict(run.record["choices"])
    found = list(_choice_problems(choices))
    if found:
        raise ConfigError("\n".join(f"{run.folder / RECORD}: {line}" for line in found))
    directory = Path(run.record.get("directory", ""))
    reader = _Reader(choices, directory, slime_version(run.record))
    values = reader.node(run.values, Config, "")
    if reader.unknown:
        lines = [f"{run.file}: {unknown_key(path, reader.tree)}" for path in reader.unknown]
        raise ConfigError("\n".join(lines))
    if reader.lost:
        raise ConfigError(
            f"{run.file}: it lacks {', '.join(reader.lost[:3])}, which slime "
            f"{slime_version(run.record)} had: the file is not as that run wrote it"
        )
    defaults = [
        {f"override /{group}": choice}
        for group, choice in reader.choices.items()
        if group != _NOT_CHOSEN_AGAIN
    ]
    recipe: DictConfig = OmegaConf.create(
        {"defaults": defaults, **values, RECIPE: _literal(run.record[RECIPE])}
    )
    return recipe


class _Reader:
    """Walks the values of a run beside the classes that its choices mean today."""

    def __init__(self, choices: dict[str, str], directory: Path, version: str | None) -> None:
        self._directory = directory  # what the run's relative paths are relative to
        self._version = version
        self.lost: list[str] = []
        self.choices = {group: choices[group] for group in BY_NAME if group in choices}
        self.tree: dict[str, type[Node]] = {}
        self.unknown: list[str] = []

    def node(self, values: dict[str, Any], schema: type[Node], path: str) -> dict[str, Any]:
        self.tree[path] = schema
        known = field_names(schema)
        self.unknown += [join(path, str(key)) for key in values if key not in known]
        kept: dict[str, Any] = {}
        for field in dataclasses.fields(schema):  # type: ignore[arg-type]
            here = join(path, field.name)
            if here not in NOT_AGAIN and not is_label(here):
                kept |= self._field(values, field, here)
        return kept

    def _field(
        self, values: dict[str, Any], field: dataclasses.Field[Any], path: str
    ) -> dict[str, Any]:
        below = self._class_at(field, path)
        if below is not None:
            inner = values.get(field.name)
            return {field.name: self.node(inner if isinstance(inner, dict) else {}, below, path)}
        if path in BY_NODE:
            return {}
        if field.name not in values:
            if self._version is not None and _parts(field.metadata["since"]) <= _parts(
                self._version
            ):
                self.lost.append(path)
            return _as_before_the_key(field)
        value = values[field.name]
        if field.metadata.get("data") and isinstance(value, str):
            value = str(self._directory / Path(value).expanduser())
        return {field.name: _literal(value)}

    def _class_at(self, field: dataclasses.Field[Any], path: str) -> type[Node] | None:
        if path in BY_NODE:
            group = BY_NODE[path]
            if group.name not in self.choices and (neutral := _neutral_choice(group, field)):
                self.choices[group.name] = neutral
            return (
                _class_of(group, self.choices[group.name]) if group.name in self.choices else None
            )
        return field.type if isinstance(field.type, type) and issubclass(field.type, Node) else None


def _choice_problems(choices: dict[str, str]) -> Iterator[str]:
    for group, choice in choices.items():
        if group == RECIPE:
            continue
        if group not in BY_NAME:
            yield f"slime no longer has the group {group!r}"
        elif choice not in BY_NAME[group].options:
            yield unknown_choice(group, str(choice), BY_NAME[group].options)


def _as_before_the_key(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """The run did not know the key: not today's default, but what training was without it."""
    neutral = field.metadata.get("neutral", NO_NEUTRAL)
    known = neutral is not NO_NEUTRAL and not isinstance(neutral, type)
    return {field.name: getattr(neutral, "name", neutral)} if known else {}


def _neutral_choice(group: Group, field: dataclasses.Field[Any]) -> str | None:
    neutral = field.metadata.get("neutral", NO_NEUTRAL)
    return next((choice.name for choice in group.choices if choice.schema is neutral), None)


def _class_of(group: Group, name: str) -> type[Node]:
    return next(choice.schema for choice in group.choices if choice.name == name)


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _literal(value: Any) -> Any:
    """A text that a run resolved to is not to be resolved once more."""
    match value:
        case str():
            return literal(value)
        case list():
            return [_literal(item) for item in value]
        case dict():
            return {key: _literal(item) for key, item in value.items()}
    return value
