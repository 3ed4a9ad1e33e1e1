"""Runs that differ in nothing but the seed are one recipe; its name is what sets it apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slime.report.run import Run
from slime.report.values import SEED, Value, training_values

ABSENT = "—"  # a key that a run does not have


@dataclass(frozen=True, slots=True)
class Recipe:
    """The runs of one recipe, a seed each, in the order of their seeds.

    label: short, for pictures.  identity: the keys that set it apart, and their values.
    place: its number, which decides its colour.
    """

    label: str
    identity: Mapping[str, str]
    place: int
    runs: tuple[Run, ...]

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.is_finished)

    @property
    def unfinished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if not run.is_finished)

    @property
    def averaged(self) -> tuple[Run, ...]:
        """The runs that means are taken over: the finished ones, or all while none is."""
        return self.finished or self.runs


@dataclass(frozen=True, slots=True)
class Recipes:
    """notes: a line for each run that repeats another."""

    recipes: tuple[Recipe, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DifferingKey:
    """A key whose value is not the same in all recipes.  values: one per recipe, in their order."""

    path: str
    values: tuple[str, ...]
    trains: bool


def group_runs(runs: Sequence[Run]) -> Recipes:
    """Runs with the same training values, the seed aside, in the order they were found."""
    groups: dict[frozenset[tuple[str, Value]], list[Run]] = {}
    for run in runs:
        groups.setdefault(frozenset(training_values(run.values).items()), []).append(run)
    notes: list[str] = []
    kept = [_one_per_seed(group, notes) for group in groups.values()]
    identities = _identities(kept)
    recipes = tuple(
        Recipe(_label(identity, group[0]), identity, place, tuple(group))
        for place, (group, identity) in enumerate(zip(kept, identities, strict=True))
    )
    return Recipes(recipes, tuple(notes))


def differing_keys(recipes: Sequence[Recipe]) -> list[DifferingKey]:
    """Every key that is not the same in all runs, the seed aside; what trains comes first."""
    runs = [run for recipe in recipes for run in recipe.runs]
    training = [training_values(run.values) for run in runs]
    paths = dict.fromkeys(path for run in runs for path in run.values if path != SEED)
    rows = [
        DifferingKey(
            path,
            tuple(_values_of(recipe, path) for recipe in recipes),
            trains=len({values.get(path, ABSENT) for values in training}) > 1,
        )
        for path in paths
        if len({_shown(run, path) for run in runs}) > 1
    ]
    return sorted(rows, key=lambda row: not row.trains)


def show(value: Value) -> str:
    """A value as one would write it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.10g}"
        case _:
            return str(value)


def _one_per_seed(group: Sequence[Run], notes: list[str]) -> list[Run]:
    """A seed that was run twice counts once: the two are the same experiment."""
    best: dict[Value, Run] = {}
    for run in sorted(group, key=_how_whole):
        if run.seed in best:
            other = best[run.seed].name
            notes.append(f"{other}: left out, {run.name} is the same recipe with the same seed")
        best[run.seed] = run
    return sorted(best.values(), key=lambda run: str(run.seed).zfill(12))


def _how_whole(run: Run) -> tuple[bool, bool, int, int, str]:
    """The larger, the more there is to read of a run; of equals the later one."""
    ended_well = run.exit_code in (None, 0)
    answers = len(run.answers)
    return run.is_finished, ended_well, run.iterations_trained, answers, run.origin.time


def _identities(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """The fewest keys that tell all groups apart, with the values of each group."""
    candidates = _candidates(groups)
    chosen: list[str] = []
    parts = {tuple[str, ...]() for _ in groups}
    while candidates:
        split = {
            name: {tuple(candidates[n][g] for n in (*chosen, name)) for g in range(len(groups))}
            for name in candidates
            if name not in chosen
        }
        best = max(split, key=lambda name: len(split[name]), default=None)
        if best is None or len(split[best]) <= len(parts):
            break
        chosen.append(best)
        parts = split[best]
    return [{n: candidates[n][g] for n in chosen} for g in range(len(groups))]


def _candidates(groups: Sequence[Sequence[Run]]) -> dict[str, list[str]]:
    """What could name a group, best first: the recipe, then the choices, then the keys."""
    paths = dict.fromkeys(
        p for group in groups for run in group for p in training_values(run.values)
    )
    choices = dict.fromkeys(c for group in groups for run in group for c in run.origin.choices)
    found = {"recipe": [{run.recipe or "no recipe" for run in group} for group in groups]}
    for choice in choices:
        found[choice] = [{run.origin.choices.get(choice) or ABSENT for run in g} for g in groups]
    for path in paths:
        found[path] = [{_shown(run, path) for run in group} for group in groups]
    return {
        name: [next(iter(values)) for values in of_groups]
        for name, of_groups in found.items()
        if all(len(values) == 1 for values in of_groups) and len(set().union(*of_groups)) > 1
    }


def _label(identity: Mapping[str, str], run: Run) -> str:
    """Without the key where one key is enough; else `last.part=value`."""
    if not identity:
        return run.recipe or run.origin.choices.get("loss/aggregation") or "the recipe"
    if len(identity) == 1:
        return next(iter(identity.values()))
    parts = [
        value if key == "recipe" else f"{key.replace('/', '.').rpartition('.')[2]}={value}"
        for key, value in identity.items()
        if value != ABSENT
    ]
    return ", ".join(parts)


def _values_of(recipe: Recipe, path: str) -> str:
    return " | ".join(dict.fromkeys(_shown(run, path) for run in recipe.runs))


def _shown(run: Run, path: str) -> str:
    return show(run.values[path]) if path in run.values else ABSENT
