"""What `python launch.py --help` prints, from the table that registers the groups."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from slime.config.flags import flag_parser
from slime.config.groups import BY_NAME, GROUPS, RECIPE, Group
from slime.config.store import ROOT_CONFIG

WIDTH = 100
COLUMN = 16

EXAMPLES = (
    ("python launch.py", "SmolLM2-135M learns arithmetic"),
    ("python launch.py model=tiny iterations=3", "the same loop in seconds"),
    ("python launch.py loss/aggregation=constant loss.divisor=40960", "Dr.GRPO's loss"),
    ("python launch.py loss/objective=gspo steps_per_iteration=4", "a ratio per sequence (GSPO)"),
    ("python launch.py loss/objective=cispo steps_per_iteration=4", "no token is clipped (CISPO)"),
    ("python launch.py loss/correction=tis", "truncate where engine and trainer disagree"),
    (
        "python launch.py loss/aggregation=custom loss.function=my.module:weights",
        "your own weights",
    ),
    ("python launch.py command=check parallel.context=2", "prove the loss on this very layout"),
    ("python launch.py model=path model.path=/my/llama-or-qwen-folder", "your own model"),
    ("python launch.py task=jsonl task.path=questions.jsonl", "your own questions"),
    ("python launch.py recipe=grpo/v1 seed=1", "a published composition"),
    ("python launch.py -m loss/aggregation=sample_mean,token_mean seed=0,1", "four runs"),
    ("python launch.py --cfg job --package loss", "the keys that are legal under loss"),
)


def help_text(conf: Path, recipes: Sequence[str]) -> str:
    """The whole text.

    conf: the folder of the config groups, for their defaults; recipes: the names that exist.
    """
    defaults = default_choices(conf)
    width = max(len(command) for command, _ in EXAMPLES)
    lines = [
        "Post-trains a language model with reinforcement learning.",
        "",
        "    python launch.py [flags] [group=choice ...] [key=value ...]",
        "",
        "Groups have a slash where they nest, keys have dots.  * marks the default choice.",
        "",
    ]
    for group in GROUPS:
        lines += _group_lines(group, defaults[group.name])
    lines += _recipe_lines(recipes)
    lines += ["", "Examples", ""]
    lines += [f"    {command:<{width}}  # {meaning}" for command, meaning in EXAMPLES]
    lines += ["", "Flags", ""]
    lines += _flag_lines()
    lines += [
        "",
        "Everything is checked before anything starts: exit code 2 and a line for each mistake.",
        "A run writes runs/<time>/ in the current directory; hydra.run.dir=<folder> changes that.",
        "docs/config.md lists every key, with its type, default, unit and meaning.",
        "HYDRA_FULL_ERROR=1 in the environment shows the trace of a config error.",
    ]
    return "\n".join(lines)


def default_choices(conf: Path) -> Mapping[str, str | None]:
    """The choice that conf/config.yaml makes for each group."""
    root = OmegaConf.load(conf / f"{ROOT_CONFIG}.yaml")
    entries = [entry for entry in root.defaults if isinstance(entry, DictConfig)]
    choices = {str(group): choice for entry in entries for group, choice in entry.items()}
    return {group: choices[group] for group in (*BY_NAME, RECIPE)}


def _group_lines(group: Group, default: str | None) -> Iterator[str]:
    yield f"{group.name}: {group.meaning}"
    column = max(COLUMN, *(len(name) + 2 for name in group.options))
    for choice in group.choices:
        mark = "*" if choice.name == default else " "
        yield _wrapped(f"  {mark} {choice.name:<{column}}", choice.meaning)


def _recipe_lines(recipes: Sequence[str]) -> Iterator[str]:
    yield f"{RECIPE}: a published composition; it overrides the defaults, you override it"
    yield from (f"    {name}" for name in recipes)


def _flag_lines() -> Iterator[str]:
    for action in flag_parser()._actions:
        if action.option_strings:
            value = " ".join(action.choices or [str(action.metavar or "")])
            flag = f"{', '.join(action.option_strings)} {value}"
            yield f"    {flag:<{COLUMN + 4}}  {action.help}"


def _wrapped(head: str, text: str) -> str:
    indent = " " * len(head)
    return textwrap.fill(head + text, WIDTH, subsequent_indent=indent)
