"""command=explain: what each mode weighs in a saved iteration, as a figure and a table."""

from pathlib import Path

from slime.check.modes import weigh
from slime.check.plan_by_hand import items
from slime.check.saved import read_to_explain
from slime.check.shares import rollout_pulls, shares
from slime.check.tables import console, print_modes, say
from slime.check.warn import NOTHING_PULLS
from slime.config.schema import Config
from slime.config.schema.steps import step_sizes
from slime.plan import build_planner
from slime.report.weights import ModePoints, draw_weights


def explain(config: Config, run_directory: Path) -> int:
    """Print the table and write weights.png into `run_directory`.  -> 0

    Needs no model and no workers.  Raises ConfigError when the iteration cannot be read or planned.
    """
    out = console()
    plan = build_planner(
        config.loss, config.advantage, config.steps_per_iteration, config.incomplete_step
    )
    groups = read_to_explain(config, plan).groups
    size = step_sizes(len(groups), config.steps_per_iteration, config.incomplete_step)[0]
    step = items(groups[:size], config.loss, config.advantage)
    modes = weigh(step, config.loss, config.rollout.max_response_tokens)
    pulls = [rollout_pulls(step, mode) for mode in modes]

    where = f"iteration {config.check.iteration} of {config.check.replay}"
    if size < len(groups):
        where += f", the first {size} of its {len(groups)} prompts (one step)"
    say(out, f"{where}: {len(pulls[0])} rollouts with an active token")
    found = [shares(step, mode) for mode in modes]
    totals = [mode.total_pull for mode in found]
    print_modes(out, found, "weight x |advantage|", totals)
    if not totals[0]:
        say(out, f"warning: {NOTHING_PULLS}")
    if not pulls[0]:
        say(out, "no rollout has an active token, so there is nothing to draw")
        return 0
    picture = run_directory / "weights.png"
    draw_weights(
        [
            ModePoints(
                mode.name,
                tuple(pull.active_tokens for pull in of),
                tuple(pull.weight for pull in of),
            )
            for mode, of in zip(modes, pulls, strict=True)
        ],
        picture,
        title=where,
    )
    say(out, f"figure: {picture}")
    return 0
