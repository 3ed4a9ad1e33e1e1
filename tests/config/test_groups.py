"""Every group, every choice, every class: what composes, and to what."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from slime.config import schema
from slime.config.groups import GROUPS
from slime.config.help import default_choices
from slime.config.keys import is_label, is_node, join
from slime.config.schema import ConstantLoss, Node

CONF = Path(__file__).parents[2] / "conf"

# What a choice needs before it is a whole config.
NEEDS = {
    "loss/aggregation=constant": ["loss.divisor=5"],
    "loss/aggregation=custom": ["loss.function=a:b"],
    "model=path": ["model.path=x"],
    "model=qwen2_5_0_5b": ["model.path=x"],
    "model=qwen3_0_6b": ["model.path=x"],
    "model=qwen3_4b": ["model.path=x"],
    "model=qwen3_30b_a3b": ["model.path=x"],
    "task=jsonl": ["task.path=x"],
    "reward=function": ["reward.function=a:b"],
    "rollout/engine=replay": ["rollout.engine.path=x"],
    "rollout/engine=demonstrations": [
        "loss/objective=sft",
        "advantage=constant",
        "rollout.samples_per_prompt=1",
    ],
    "loss/objective=sft": [
        "rollout/engine=demonstrations",
        "advantage=constant",
        "rollout.samples_per_prompt=1",
    ],
}
CHOICES = [(group, choice) for group in GROUPS for choice in group.choices]


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda x: x.name)
def test_every_choice_composes_to_its_class(group, choice, config):
    selection = f"{group.name}={choice.name}"
    node = config(selection, *NEEDS.get(selection, []))
    for name in group.node.split("."):
        node = getattr(node, name)
    assert type(node) is choice.schema


def test_the_groups_and_choices_are_the_files_of_conf():
    files = {path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml")}
    choices = {f"{group.name}/{choice.name}" for group, choice in CHOICES}
    assert files == choices | {"config"}


def test_without_overrides_the_default_choices_compose(config):
    chosen, defaults = config(), default_choices(CONF)
    assert chosen.model.name == defaults["model"] == "smollm2_135m"
    assert chosen.task.name == defaults["task"] == "arithmetic"
    assert chosen.reward.name == defaults["reward"]
    assert chosen.reward.overlong.name == defaults["reward/overlong"] == "none"
    assert chosen.rollout.engine.name == defaults["rollout/engine"] == "local"
    assert chosen.rollout.filter.name == defaults["rollout/filter"] == "none"
    assert chosen.advantage.name == defaults["advantage"] == "grpo"
    assert chosen.loss.aggregation == defaults["loss/aggregation"] == "sample_mean"
    assert chosen.loss.objective.name == defaults["loss/objective"] == "ppo"
    assert chosen.loss.kl.name == defaults["loss/kl"] == "none"
    assert chosen.loss.correction.name == defaults["loss/correction"] == "none"
    assert chosen.tracking.name == defaults["tracking"] == "tensorboard"
    assert chosen.recipe is defaults["recipe"] is None


def test_conf_chooses_classes_and_sets_no_values_but_two():
    values = {}
    for path in CONF.rglob("*.yaml"):
        entries = yaml.safe_load(path.read_text())
        entries.pop("defaults")
        entries.pop("hydra", None)
        values |= {f"{path.stem}.{key}": value for key, value in entries.items()}
    assert values == {
        "dr_grpo.divisor": "${rollout.max_response_tokens}",
        "existing.address": "auto",
    }


def test_every_class_of_the_schema_is_reachable(config):
    """By a choice, as a part of every config, or as the base of one that is."""
    reachable = {choice.schema for _, choice in CHOICES} | {type(n) for n in nodes(config())}
    bases = {base for cls in reachable for base in cls.__mro__}
    classes = {c for c in vars(schema).values() if isinstance(c, type) and issubclass(c, Node)}
    assert classes <= bases
    assert {cls for cls in classes if not cls.__subclasses__()} <= reachable


def nodes(node):
    yield node
    for field in dataclasses.fields(node):
        if isinstance(getattr(node, field.name), Node):
            yield from nodes(getattr(node, field.name))


@pytest.mark.parametrize("tokens", [8, 700])
def test_dr_grpo_takes_the_response_budget_as_its_divisor(tokens, config):
    loss = config("loss/aggregation=dr_grpo", f"rollout.max_response_tokens={tokens}").loss
    assert type(loss) is ConstantLoss
    assert loss.divisor == tokens
    assert isinstance(loss.divisor, float)


def test_an_existing_cluster_is_joined_and_a_local_one_is_private(config):
    assert config("cluster=existing").cluster.address == "auto"
    assert config("cluster=local").cluster.address is None


def test_a_built_config_cannot_be_changed(config):
    built = config()
    with pytest.raises(AttributeError, match="config is immutable: cannot set 'seed'"):
        built.seed = 3
    with pytest.raises(AttributeError, match="config is immutable"):
        built.loss.kl.name = "k3"


def test_every_key_says_what_it_means():
    for group, choice in CHOICES:
        for field in dataclasses.fields(choice.schema):
            path = join(group.node, field.name)
            if not (is_label(path) or is_node(path)):
                assert field.metadata["meaning"], path
