"""command=rerun run=...: a run trains the same again, whatever the defaults of slime are now."""

import dataclasses
import json

import pytest
import yaml

from slime.config import provenance
from slime.config.fingerprint import Role, fingerprint, values_of
from slime.config.groups import GROUPS
from slime.config.past_run import NOT_AGAIN, read_run, recipe_of
from slime.config.rerun import code_differences
from slime.config.schema import AdamConfig, Command
from slime.config.schema.base import key


@pytest.fixture(autouse=True)
def same_code(monkeypatch):
    """Git says the same at both times, whatever this checkout is in the middle of."""
    monkeypatch.setattr(provenance, "_git", lambda *a: "abc" if a[0] == "rev-parse" else "")


@pytest.fixture
def past(command):
    """Trains (as far as the fixture of that name trains).  -> its config and run directory"""

    def train(*arguments):
        [(config, directory)] = command("model=tiny", *arguments).trained
        return config, directory

    return train


def values(config):
    return values_of(config, Role.trains, Role.neutral, Role.beside)


def again(command, directory, *arguments):
    """-> the config that was trained, its run directory, and what was said about the old one"""
    ended = command("command=rerun", f"run={directory}", *arguments)
    assert ended.exit_code == 0, ended.err
    [(config, folder)] = ended.trained
    return config, folder, [line for line in ended.err.splitlines() if str(directory) in line]


def edited(directory, name, change):
    """Rewrites a file of a run directory as if another slime had left it."""
    file = directory / name
    read, write = (
        (json.loads, json.dumps) if name == "run.json" else (yaml.safe_load, yaml.safe_dump)
    )
    values = read(file.read_text())
    change(values)
    file.write_text(write(values))


EVERY_CHOICE = [
    ["task=jsonl", "task.path=lines.jsonl", "task.stop_tokens=[x]", "reward=exact_match"],
    ["recipe=grpo/v1", "seed=3", "loss.kl.coefficient=0.07", "rollout/engine=local"],
    ["loss/aggregation=dr_grpo", "rollout.max_response_tokens=5", "optimizer.schedule=cosine"],
    ["loss/aggregation=constant", "loss.divisor=40960", "loss.objective.dual_clip=3"],
    ["loss/objective=gspo", "loss.objective.clip_high=0.001", "loss/correction=icepop"],
    ["rollout/filter=dynamic", "reward/overlong=soft", "reward.overlong.buffer_fraction=0.5"],
    ["advantage=rloo", "advantage.whitening=rollouts", "loss/kl=k2", "loss.kl.place=reward"],
    ["parallel.precision=bfloat16", "parallel.microbatches=2", "tracking=none"],
    [r"task.template='a \${b} {question}'", "rollout.temperature=0.3"],
]


@pytest.mark.parametrize("arguments", EVERY_CHOICE, ids=lambda arguments: arguments[0])
def test_a_run_that_is_run_again_has_the_same_values_and_fingerprint(
    arguments, past, command, tmp_path
):
    (tmp_path / "lines.jsonl").write_text('{"prompt": "a", "answer": "b"}\n' * 40)
    first, directory = past(*arguments)
    second, folder, said = again(command, directory)
    where = {"task.path": str(tmp_path / "lines.jsonl")} if "task=jsonl" in arguments else {}
    assert values(second) == values(first) | where
    assert fingerprint(second) == fingerprint(first)
    assert (second.command, second.run) == (Command.rerun, str(directory))
    assert second.recipe == first.recipe
    assert folder != directory
    assert said == []


def test_every_group_but_those_of_other_places_is_among_these_lines():
    chosen = {word.partition("=")[0] for line in EVERY_CHOICE for word in line} | {"model"}
    elsewhere = {
        "rollout",
        "optimizer",
        "parallel",
        "cluster",
        "check",
        "checkpoint",
    }  # one class only
    assert {group.name for group in GROUPS} - elsewhere <= chosen


def test_a_rerun_can_be_run_again_itself(past, command):
    first, directory = past("recipe=grpo/v1", "seed=3")
    _, folder, _ = again(command, directory)
    record = json.loads((folder / "run.json").read_text())
    assert record["overrides"] == ["command=rerun", f"run={directory}"]
    assert record["recipe"] == record["choices"]["recipe"] == "grpo/v1"
    third, _, said = again(command, folder)
    assert (values(third), said) == (values(first), [])


def test_the_rollouts_of_the_run_are_not_written_over(past, command):
    _, directory = past("rollout.save=saved")
    config, _, _ = again(command, directory)
    assert config.rollout.save is None
    assert "rollout.save" in NOT_AGAIN


def test_what_is_added_wins_and_is_told_with_the_keys_in_which_it_differs(past, command):
    first, directory = past("loss.objective.clip_high=0.28")
    second, _, said = again(
        command, directory, "seed=3", "rollout.temperature=0.5", "tracking=none"
    )
    assert (second.seed, second.rollout.temperature) == (3, 0.5)
    assert second.loss.objective.clip_high == 0.28
    assert said == [
        f"config warning: run={directory}: fingerprint {fingerprint(second)} is not the run's "
        f"{fingerprint(first)}: seed 0 -> 3, rollout.temperature 1.0 -> 0.5"
    ]


def test_what_is_added_without_changing_training_is_not_worth_a_word(past, command):
    _, directory = past()
    config, _, said = again(command, directory, "parallel.data=2", "tracking=none", "seed=0")
    assert (config.parallel.data, said) == (2, [])


def test_another_choice_takes_its_own_keys_and_keeps_those_that_all_choices_share(past, command):
    _, directory = past(
        "loss/aggregation=constant", "loss.divisor=5", "loss.entropy_coefficient=0.25",
        "loss.objective.clip_high=0.3", "loss/kl=k3", "loss.kl.coefficient=0.5",
    )  # fmt: skip
    config, _, [said] = again(
        command, directory, "loss/aggregation=sample_mean", "loss/objective=gspo"
    )
    loss = config.loss
    assert (loss.aggregation, loss.entropy_coefficient) == ("sample_mean", 0.25)
    assert (loss.objective.name, loss.objective.clip_high) == ("gspo", 4e-4)
    assert "loss.divisor 5.0 -> -" in said
    assert loss.kl.coefficient == 0.5


def test_a_rerun_sweeps_over_keys_and_over_groups(past, command):
    _, directory = past("seed=3", "rollout.temperature=0.5")
    ended = command("-m", "command=rerun", f"run={directory}", "seed=4,5")
    assert [(c.seed, c.rollout.temperature) for c, _ in ended.trained] == [(4, 0.5), (5, 0.5)]
    ended = command("-m", "command=rerun", f"run={directory}", "loss/kl=k2,k3")
    assert [(c.loss.kl.name, c.rollout.temperature) for c, _ in ended.trained] == [
        ("k2", 0.5),
        ("k3", 0.5),
    ]


def test_one_run_at_a_time(past, command):
    _, directory = past()
    given = f"run={directory},{directory}"
    ended = command("-m", "command=rerun", given)
    assert ended.messages == [f"{given!r}: rerun takes one run at a time"]


def test_data_is_looked_for_where_the_run_found_it(past, command, tmp_path, monkeypatch):
    (tmp_path / "lines.jsonl").write_text('{"prompt": "a", "answer": "b"}\n' * 40)
    task = ["task=jsonl", "task.path=lines.jsonl", "reward=exact_match"]
    first, directory = past(*task)
    mark = fingerprint(first)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second, _, said = again(command, directory)
    assert (fingerprint(second), said) == (mark, [])


def test_data_that_has_changed_since_is_told(past, command, tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"prompt": "a", "answer": "b"}\n' * 40)
    _, directory = past("task=jsonl", "task.path=lines.jsonl", "reward=exact_match")
    (tmp_path / "lines.jsonl").write_text('{"prompt": "a", "answer": "c"}\n' * 40)
    _, _, [said] = again(command, directory)
    assert said.endswith(
        "(its files or its data were changed since, or fingerprints are taken differently now)"
    )


def test_a_file_that_was_cut_short_is_no_older_run(past, command):
    _, directory = past()
    edited(directory, "resolved.yaml", lambda values: values.pop("max_bad_steps"))
    ended = command("command=rerun", f"run={directory}")
    version = json.loads((directory / "run.json").read_text())["versions"]["slime"]
    assert ended.messages == [
        f"{directory}/resolved.yaml: it lacks max_bad_steps, which slime {version} had: "
        "the file is not as that run wrote it"
    ]


def older(record):
    record["versions"]["slime"] = "0.0.1"


def test_a_record_without_versions_is_one_from_before_they_were_written(past, command):
    _, directory = past()
    edited(directory, "run.json", lambda record: record.update(versions=None))
    _, _, said = again(command, directory)
    assert any("torch None then" in line for line in said)


@dataclasses.dataclass(slots=True, kw_only=True)
class LaterAdam(AdamConfig):
    """What slime may have become: a default has changed, and a new key does not default to old."""

    learning_rate: float = key("peak learning rate", 0.5)
    lookahead: int = key("a key of a later version", 5, neutral=0, since="9.0")


def test_a_changed_default_and_a_new_key_do_not_change_a_run_that_is_run_again(
    past, command, stand_in
):
    first, directory = past("seed=3")
    stand_in("optimizer", "adam", LaterAdam)
    second, _, said = again(command, directory)
    assert type(second.optimizer) is LaterAdam
    assert (second.optimizer.learning_rate, second.optimizer.lookahead) == (2e-5, 0)
    assert fingerprint(second) == fingerprint(first)
    assert said == []


def test_a_run_from_before_a_group_existed_gets_the_choice_that_changes_nothing(past, command):
    first, directory = past("seed=3")
    edited(directory, "run.json", lambda record: record["choices"].pop("rollout/filter"))
    edited(directory, "run.json", older)
    edited(directory, "resolved.yaml", lambda values: values["rollout"].pop("filter"))
    assert {"override /rollout/filter": "none"} in recipe_of(read_run("run", directory)).defaults
    second, _, said = again(command, directory)
    assert fingerprint(second) == fingerprint(first)
    assert [line for line in said if "slime 0.0.1 then" not in line] == []


def test_a_run_that_says_old_names_is_understood(past, command):
    first, directory = past("loss.objective.clip_low=0.125")

    def old(values):
        values["loss"]["clip_low"] = values["loss"]["objective"].pop("clip_low")

    edited(directory, "resolved.yaml", old)
    second, _, said = again(command, directory)
    assert fingerprint(second) == fingerprint(first)
    assert said == [
        f"config notice: {directory}/resolved.yaml: loss.clip_low was renamed in 0.2; "
        "read as loss.objective.clip_low"
    ]


def test_a_fingerprint_that_is_taken_differently_today_is_told(past, command):
    first, directory = past()
    edited(directory, "run.json", lambda record: record.update(fingerprint="0123456789ab"))
    edited(directory, "run.json", older)
    edited(directory, "resolved.yaml", lambda values: values.pop("max_bad_steps"))
    _, _, [_, *said] = again(command, directory)
    assert said == [
        f"config warning: run={directory}: fingerprint 0123456789ab then, {fingerprint(first)} now "
        "(keys that are new since then: max_bad_steps=3)"
    ]


def test_a_difference_in_the_code_is_one_line_each(past, command):
    _, directory = past()

    def other(record):
        record |= {"commit": "def", "dirty": True, "python": "3.10.1"}
        record["versions"]["torch"] = "1.0"

    edited(directory, "run.json", other)
    now = provenance.code_record()
    _, _, said = again(command, directory)
    assert said == [
        f"config warning: run={directory}: {line}"
        for line in (
            "commit def then, abc now",
            "the checkout had uncommitted changes then",
            f"python 3.10.1 then, {now['python']} now",
            f"torch 1.0 then, {now['versions']['torch']} now",
        )
    ]


def test_uncommitted_changes_of_today_are_told_and_the_same_code_says_nothing():
    record = {"commit": "a", "dirty": False, "python": "3", "versions": {"torch": "1"}}
    assert list(code_differences(record, record)) == []
    assert list(code_differences(record, record | {"dirty": True})) == [
        "the checkout has uncommitted changes now"
    ]
    nowhere = record | {"commit": None, "dirty": None}
    assert list(code_differences(nowhere, nowhere)) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("run.json", None, "run={run} is not a run directory: it has no run.json"),
        ("resolved.yaml", None, "run={run} is not a whole run directory: it has no resolved.yaml"),
        ("run.json", "[", "{run}/run.json: cannot be read: "),
        ("run.json", "{}", "{run}/run.json: cannot be read: it names no choices"),
        ("run.json", '{"choices": 3}', "{run}/run.json: cannot be read: 'choices' is not what"),
        ("resolved.yaml", "a: [1\n", "{run}/resolved.yaml: not valid YAML in line 2"),
        ("resolved.yaml", "[]", "{run}/resolved.yaml: a recipe is a mapping"),
        ("resolved.yaml", "loss: {foo: 1}", "{run}/resolved.yaml: unknown key 'loss.foo'"),
        ("resolved.yaml", "seed: x", "{run}/resolved.yaml: it lacks "),
    ],
)
def test_a_folder_that_holds_no_run_or_an_unreadable_one_is_told(
    name, change, message, past, command
):
    _, directory = past()
    if change is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(change)
    ended = command("command=rerun", f"run={directory}")
    assert (ended.exit_code, ended.trained) == (2, [])
    assert any(line.startswith(message.format(run=directory)) for line in ended.messages)


def test_what_slime_no_longer_has_is_told_by_name(past, command):
    _, directory = past()
    edited(directory, "run.json", lambda r: r["choices"].update({"loss/kl": "k9", "taste": "salt"}))
    ended = command("command=rerun", f"run={directory}")
    assert ended.messages == [
        f"{directory}/run.json: unknown loss/kl 'k9' (valid: k1, k2, k3, none)",
        f"{directory}/run.json: slime no longer has the group 'taste'",
    ]


def test_a_sweep_is_not_a_run_but_holds_some(command):
    ended = command("-m", "model=tiny", "seed=0,1")
    first = ended.trained[0][1]
    ended = command("command=rerun", f"run={first.parent}")
    assert ended.messages == [
        f"run={first.parent} is not a run directory: it has no run.json; it holds several: write "
        f"run={first}"
    ]


def test_a_run_brings_its_own_recipe(past, command):
    _, directory = past()
    ended = command("command=rerun", f"run={directory}", "recipe=grpo/v1")
    assert ended.messages == [
        f"'recipe=grpo/v1': run={directory} brings its own recipe: drop one of them"
    ]


def test_the_other_mistakes_of_the_command_line_are_told_as_always(past, command):
    _, directory = past()
    ended = command("command=rerun", f"run={directory}", "seed=true", "foo=1")
    assert ended.messages[0] == "seed must be a whole number, got true"
    assert ended.messages[1].startswith("unknown key 'foo'")


def test_cfg_prints_what_a_rerun_would_train(past, command):
    _, directory = past("seed=7")
    ended = command("command=rerun", f"run={directory}", "--cfg", "job")
    assert yaml.safe_load(ended.out)["seed"] == 7
