"""What can be wrong with an override that chooses from a group."""

from collections.abc import Iterator

from hydra.core.override_parser.types import Override

from slime.config.groups import BY_NAME, RECIPE
from slime.config.keys import every_key, join
from slime.config.names import unknown_choice, unknown_group
from slime.config.store import registered_recipes


def names_a_group(override: Override) -> bool:
    key = override.key_or_group
    if isinstance(override.value(), dict):
        return "/" in key or key == RECIPE
    return key in BY_NAME or key == RECIPE or "/" in key or override.package is not None


def group_problems(override: Override) -> Iterator[str]:
    """A sentence for each reason why this override chooses nothing."""
    key, choice = override.key_or_group, override.value()
    written = str(override.input_line).partition("=")[2]
    if key.startswith(f"{RECIPE}/"):
        name = key.removeprefix(f"{RECIPE}/")
        yield f"{key!r} is no group: write {RECIPE}={name}{f'/{written}' if written else ''}"
    elif key not in BY_NAME and key != RECIPE:
        yield _no_group(key, written)
    elif override.is_delete():
        yield _removed(key)
    elif override.is_add() or override.is_force_add() or override.package is not None:
        yield f"{override.input_line!r}: write {key}={written}"
    elif choice is None and key == RECIPE:
        yield f"{override.input_line!r}: leave it out to have no recipe"
    else:
        options = registered_recipes() if key == RECIPE else BY_NAME[key].options
        if choice not in options:
            hint = "" if key == RECIPE else recipe_called(written)
            yield unknown_choice(key, written, options) + hint


def _no_group(key: str, written: str) -> str:
    dotted = key.replace("/", ".")
    if any(join(*where) == dotted for where in every_key()):
        return f"{key!r} is a key, not a group: write {dotted}={written or '<value>'}"
    return unknown_group(key, written)


def _removed(key: str) -> str:
    if key == RECIPE:
        return f"'~{key}': leave it out to have no recipe"
    return f"'~{key}': a group cannot be removed; choose another with {key}=<choice>"


def recipe_called(name: str) -> str:
    """The end of a sentence about an unknown choice, where a whole recipe has that name."""
    versions = [recipe for recipe in registered_recipes() if recipe.startswith(f"{name}/")]
    return f"; a recipe has that name: {RECIPE}={versions[-1]}" if versions else ""
