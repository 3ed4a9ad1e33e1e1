"""What can be known about command=check and command=explain before anything heavy is imported."""

from collections.abc import Iterator
from pathlib import Path

from slime.config.schema import CheckConfig, Command, Config, kl_in_reward
from slime.rollout.check import nothing_saved, saved_iterations

KEY = "check.replay"
CERTIFICATE = "check.json"  # what a check leaves in its run directory


def problems(config: Config) -> Iterator[str]:
    """One line for an iteration to look at that is not there."""
    match config.command:
        case Command.explain if config.check.replay is None:
            yield f"command=explain needs {KEY}=<a folder that rollout.save wrote>"
        case Command.explain if kl_in_reward(config.loss.kl):
            yield (
                "command=explain runs no model, so it cannot know the KL that loss.kl.place=reward "
                "takes off the rewards: write loss.kl.place=loss, or command=check"
            )
        case Command.check | Command.explain:
            yield from _replay_problems(config.check)


def _replay_problems(config: CheckConfig) -> Iterator[str]:
    if config.replay is None:
        return
    folder = Path(config.replay).expanduser()
    saved = sorted(saved_iterations(folder))
    if not saved:
        yield nothing_saved(folder, KEY)
    elif config.iteration not in saved:
        there = f"iterations {saved[0]} to {saved[-1]}" if len(saved) > 1 else f"{saved[0]}"
        yield (
            f"check.iteration={config.iteration}: {folder} ({KEY}) has no such iteration, only "
            f"{there}"
        )
