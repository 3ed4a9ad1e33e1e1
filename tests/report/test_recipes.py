import json
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from report.synthetic_runs import SyntheticRun

from slime.config import fingerprint
from slime.config.build import build
from slime.config.compose import compose, config_loader
from slime.config.store import register
from slime.report.recipes import differing_keys, group_runs
from slime.report.runs import find_runs
from slime.report.values import flatten, training_values

ROOT = Path(__file__).parents[2]


def recipes_of(tmp_path, *runs):
    for number, run in enumerate(runs):
        run.write(tmp_path / str(number))
    return group_runs(find_runs([tmp_path]).runs)


def with_values(seed=0, **values):
    return SyntheticRun(seed=seed, values={k.replace("__", "."): v for k, v in values.items()})


def test_runs_that_differ_in_the_seed_alone_are_one_recipe(tmp_path):
    grouped = recipes_of(tmp_path, SyntheticRun(seed=2), SyntheticRun(seed=0), SyntheticRun(seed=1))
    [recipe] = grouped.recipes
    assert [run.seed for run in recipe.runs] == [0, 1, 2]


def test_what_cannot_change_training_does_not_split_a_recipe(tmp_path):
    grouped = recipes_of(
        tmp_path,
        with_values(0, parallel__data=1, tracking__name="none"),
        with_values(1, parallel__data=2, tracking__name="tensorboard", rollout__save="there"),
        with_values(2, evaluation__interval=3),
    )
    assert len(grouped.recipes) == 1
    assert {(key.path, key.trains) for key in differing_keys(grouped.recipes)} == {
        ("evaluation.interval", False),
        ("parallel.data", False),
        ("tracking.name", False),
        ("rollout.save", False),
    }


def test_a_run_of_an_older_version_lacks_a_neutral_key_and_belongs_to_the_same_recipe(tmp_path):
    grouped = recipes_of(tmp_path, with_values(0), with_values(1, rollout__filter={"name": "none"}))
    assert len(grouped.recipes) == 1
    dynamic = recipes_of(
        tmp_path / "b", with_values(0), with_values(1, rollout__filter={"name": "dynamic"})
    )
    assert len(dynamic.recipes) == 2


def test_a_recipe_is_named_by_the_one_thing_that_sets_it_apart(tmp_path):
    one_key = recipes_of(
        tmp_path / "a", with_values(loss__aggregation="x"), with_values(loss__aggregation="y")
    )
    assert [r.label for r in one_key.recipes] == ["x", "y"]
    assert [r.identity for r in one_key.recipes] == [
        {"loss.aggregation": "x"},
        {"loss.aggregation": "y"},
    ]
    by_recipe = recipes_of(
        tmp_path / "b",
        with_values(recipe="dapo/v1", loss__aggregation="x"),
        with_values(recipe="grpo/v1", loss__aggregation="y"),
    )
    assert [r.label for r in by_recipe.recipes] == ["dapo/v1", "grpo/v1"]
    assert [list(r.identity) for r in by_recipe.recipes] == [["recipe"], ["recipe"]]
    by_choice = recipes_of(
        tmp_path / "c",
        SyntheticRun(values={"loss.divisor": 8}, choices={"loss/aggregation": "dr_grpo"}),
        SyntheticRun(choices={"loss/aggregation": "sample_mean"}),
    )
    assert [r.label for r in by_choice.recipes] == ["dr_grpo", "sample_mean"]


def test_where_one_key_is_not_enough_the_name_has_the_fewest_that_are(tmp_path):
    grouped = recipes_of(
        tmp_path,
        with_values(loss__aggregation="constant", loss__divisor=8.0),
        with_values(loss__aggregation="constant", loss__divisor=1024.0),
        with_values(loss__aggregation="token_mean", optimizer__learning_rate=1e-6),
        with_values(loss__aggregation="token_mean", optimizer__learning_rate=2e-6),
    )
    labels = [recipe.label for recipe in grouped.recipes]
    assert len(set(labels)) == 4
    assert all(len(recipe.identity) == 2 for recipe in grouped.recipes)


def test_a_seed_that_was_run_twice_counts_once_and_the_finished_run_is_kept(tmp_path):
    grouped = recipes_of(
        tmp_path, SyntheticRun(), SyntheticRun(stops_after=5), SyntheticRun(seed=1)
    )
    [recipe] = grouped.recipes
    assert [(run.name, run.seed) for run in recipe.runs] == [("0", 0), ("2", 1)]
    assert grouped.notes == ("1: left out, 0 is the same recipe with the same seed",)


def test_of_two_whole_runs_the_one_with_its_answers_is_kept(tmp_path):
    runs = [SyntheticRun().write(tmp_path / str(number)) for number in range(3)]
    (runs[1] / "evaluations.jsonl").unlink()
    (runs[2] / "ended.json").write_text(json.dumps({"exit_code": 1, "evaluation": None}))
    [recipe] = group_runs(find_runs(runs).runs).recipes
    assert [run.name for run in recipe.runs] == ["0"]


def test_the_table_of_keys_holds_what_differs_and_marks_what_is_absent(tmp_path):
    grouped = recipes_of(
        tmp_path, with_values(loss__aggregation="x"), with_values(1, loss__divisor=8.0)
    )
    rows = {key.path: (key.values, key.trains) for key in differing_keys(grouped.recipes)}
    assert rows == {
        "loss.aggregation": (("x", "sample_mean"), True),
        "loss.divisor": (("—", "8"), True),
    }


COMMAND_LINES = [
    [],
    ["loss/aggregation=constant", "loss.divisor=40960", "parallel.context=2", "rollout.save=there"],
    ["loss/kl=k3", "loss.kl.coefficient=0.1", "tracking=none", "model=tiny", "task.max_term=9"],
    ["recipe=grpo/v1", "rollout/filter=dynamic", "advantage.whitening=tokens", "seed=3"],
]


@pytest.mark.parametrize("overrides", COMMAND_LINES, ids=" ".join)
def test_resolved_yaml_gives_the_values_that_the_fingerprint_covers(overrides):
    """The report reads a file and knows no config object: it must leave out the same keys."""
    register(ROOT / "recipes")
    config = build(compose(config_loader(ROOT / "conf"), overrides))
    resolved = yaml.safe_load(OmegaConf.to_yaml(OmegaConf.structured(config)))
    covered = flatten_lists(fingerprint.training_values(config))
    found = training_values(flatten(resolved))
    assert {p: found.get(p) for p in covered if p != "seed"} == {
        p: v for p, v in covered.items() if p != "seed"
    }
    # Which keys are idle only a config object knows; as values of the report they do no harm.
    assert {p.rpartition(".")[2] for p in found.keys() - covered.keys()} <= {
        *config.loss.idle(),
        *config.advantage.idle(),
        *config.optimizer.idle(),
    }


def flatten_lists(values):
    return {p: repr(v) if isinstance(v, list) else v for p, v in values.items()}


def test_values_are_flat_and_the_seed_is_no_training_value():
    values = flatten({"seed": 1, "loss": {"aggregation": "x"}, "task": {"stop_tokens": ["\n"]}})
    assert values == {"seed": 1, "loss.aggregation": "x", "task.stop_tokens": "['\\n']"}
    assert "seed" not in training_values(values)
