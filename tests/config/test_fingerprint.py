"""What the fingerprint covers: exactly what changes training."""

import dataclasses
import types
import typing
from enum import Enum

import pytest

from slime.config import fingerprint as module
from slime.config import renamed
from slime.config.fingerprint import fingerprint, training_values
from slime.config.groups import BY_NODE, GROUPS
from slime.config.keys import is_node, join
from slime.config.schema import K3, AdamConfig, Config, Node
from slime.config.schema.base import NO_NEUTRAL, key

# Every key there is.  Whoever adds one decides here: does another value train differently?
TRAINS = """
seed iterations steps_per_iteration incomplete_step max_bad_steps
model: name hidden_size layers seed path experts experts_per_token
task: name stop_tokens template max_term max_factor path evaluation_path
reward: name failure_value timeout_seconds function
reward.overlong: name buffer_fraction factor
rollout: prompts_per_iteration samples_per_prompt max_response_tokens temperature top_p
rollout.engine: name path
rollout.filter: name prompts_per_round max_rounds
advantage: name whitening whitening_epsilon epsilon value
loss: aggregation auxiliary_aggregation entropy_coefficient empty_units mask_truncated divisor function
loss.objective: name clip_low clip_high dual_clip
loss.kl: name coefficient place
loss.correction: name cap low high
optimizer: name learning_rate min_learning_rate schedule warmup_steps beta1 beta2 eps weight_decay
optimizer: clip_grad
parallel: precision
"""  # noqa: E501
DOES_NOT = """
command recipe against run runs
rollout: max_prompt_tokens save
rollout.engine: batch_size
evaluation: prompts interval
model: verify
loss: skip_idle_samples
parallel: data context tensor pipeline expert sequence layout max_tokens_per_microbatch microbatches
parallel: distributed_optimizer
reward: max_memory_gib
cluster: address allowed_imports rendezvous_port max_restarts engine_timeout_seconds
checkpoint: interval keep_last keep_every resume grace_seconds
tracking: name samples_per_iteration project group run_name mode uri experiment
check: shrink replay iteration seed
report: folder
plan: gpus gpu_memory_gib memory_gib
sweep: resume
"""

# Of the keys that train: those that name data.  What lies there counts, not where it lies.
DATA = {"model.path", "task.path", "task.evaluation_path", "rollout.engine.path"}
# And those that are without effect under some values of others, with such values and without.
IDLE = {
    "advantage.whitening_epsilon": ("advantage.whitening=none", "advantage.whitening=tokens"),
    "optimizer.min_learning_rate": ("optimizer.schedule=constant", "optimizer.schedule=linear"),
    "loss.auxiliary_aggregation": ("loss/kl=none", "loss.entropy_coefficient=0.1"),
    "loss.empty_units": ("loss/aggregation=token_mean", "loss/aggregation=sample_mean"),
}


def listed(table):
    for line in table.strip().splitlines():
        node, colon, names = line.rpartition(":")
        yield from (join(node if colon else "", name) for name in names.split())


@pytest.fixture(scope="module")
def configs(config):
    """Whole configs that have, between them, every class of every group."""
    base = config("model=tiny")
    configs = {"": base}
    for group in GROUPS:
        for choice in group.choices:
            node = with_values(choice.schema, group.node, base)
            configs[f"{group.name}={choice.name}"] = replaced(base, group.node, node)
    return configs


def with_values(schema, path, base):
    """An instance of a class, with something where it has no default."""
    values = {}
    for field in dataclasses.fields(schema):
        if join(path, field.name) in BY_NODE:
            values[field.name] = node_at(base, join(path, field.name))
        elif field.default == "???" and field.name != "name":
            values[field.name] = 1.0 if field.type is float else "x"
    return schema(**values)


def node_at(node, path):
    for name in path.split(".") if path else []:
        node = getattr(node, name)
    return node


def replaced(node, path, value):
    name, _, rest = path.partition(".")
    return dataclasses.replace(
        node, **{name: replaced(getattr(node, name), rest, value) if rest else value}
    )


def leaves(node, path=""):
    for field in dataclasses.fields(node):
        here = join(path, field.name)
        if isinstance(getattr(node, field.name), Node):
            yield from leaves(getattr(node, field.name), here)
        else:
            yield here, field


def another(value, field):
    """A value of the same key that is not this one, nor the neutral one."""
    wanted = field.type
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        wanted = next(t for t in typing.get_args(wanted) if t is not type(None))
    neutral = field.metadata.get("neutral", NO_NEUTRAL)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return next(member for member in wanted if member not in (value, neutral))
    if typing.get_origin(wanted) is list:
        return ["another"]
    return {bool: value is not True, str: "another", int: 12345, float: 0.12345}[wanted]


def test_every_key_is_listed_once(configs):
    keys = {path for config in configs.values() for path, _ in leaves(config)}
    assert not set(listed(TRAINS)) & set(listed(DOES_NOT))
    assert keys == {*listed(TRAINS), *listed(DOES_NOT)}


def test_every_key_that_trains_is_in_and_no_other_is(configs):
    trains = set(listed(TRAINS))
    for chosen, config in configs.items():
        for path, field in leaves(config):
            if path in DATA or is_idle(config, path):
                continue
            changed = replaced(config, path, another(node_at(config, path), field))
            differs = fingerprint(changed) != fingerprint(config)
            assert differs == (path in trains), f"{path} under {chosen}"


def is_idle(config, path):
    node, _, key = path.rpartition(".")
    return key in node_at(config, node).idle()


def test_a_key_without_effect_is_out_until_it_has_one(config):
    for path, (without, with_effect) in IDLE.items():
        for override, differs in ((without, False), (with_effect, True)):
            base = config("model=tiny", override)
            field = next(f for p, f in leaves(base) if p == path)
            changed = replaced(base, path, another(node_at(base, path), field))
            assert (fingerprint(changed) != fingerprint(base)) == differs, (path, override)


def test_no_other_key_is_ever_called_idle(configs):
    idle = {p for c in configs.values() for p, _ in leaves(c) if is_idle(c, p)}
    assert idle == set(IDLE)


@pytest.mark.parametrize("path", sorted(DATA))
def test_of_a_path_counts_what_lies_there(path, configs, tmp_path):
    for name, text in (("a/b", "one"), ("c", "one"), ("d", "two")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    config = next(c for c in configs.values() if path in {p for p, _ in leaves(c)})
    a, c, d, none = (
        fingerprint(replaced(config, path, str(tmp_path / name)))
        for name in ("a/../a/b", "c", "d", "nothing")
    )
    assert a == c
    assert len({a, d, none}) == 3


def test_a_folder_is_the_same_wherever_it_is_and_not_with_another_file_in_it(config, tmp_path):
    def of(*files):
        folder = tmp_path / "-".join(files)
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("x")
        return fingerprint(config("model=path", f"model.path={folder}"))

    assert len({of("a", "b"), of("a", "c"), of("a"), of("a", "d/b")}) == 4


def test_minus_nothing_is_nothing(config):
    assert fingerprint(config("loss.entropy_coefficient=-0.0")) == fingerprint(config())


def test_whole_numbers_and_floats_of_the_same_size_train_the_same(configs):
    for config in configs.values():
        for path, field in leaves(config):
            if float in (field.type, *typing.get_args(field.type)):
                one, other = (replaced(config, path, number) for number in (3, 3.0))
                assert fingerprint(one) == fingerprint(other), path


def test_what_is_neutral_of_a_new_key_is_of_its_kind():
    for group in GROUPS:
        for choice in group.choices:
            for field in dataclasses.fields(choice.schema):
                neutral = field.metadata.get("neutral", NO_NEUTRAL)
                if neutral is NO_NEUTRAL or neutral is None:
                    continue
                if is_node(join(group.node, field.name)):
                    assert issubclass(neutral, field.type), field.name
                elif isinstance(neutral, Enum):
                    assert isinstance(neutral, field.type), field.name


@dataclasses.dataclass(slots=True, kw_only=True)
class NewKey(AdamConfig):
    lookahead: int = key("a key that slime has since today", 0, neutral=0)


@dataclasses.dataclass(slots=True, kw_only=True)
class NewDefault(AdamConfig):
    lookahead: int = key("the same after its default has been changed", 5, neutral=0)


def test_a_new_key_changes_no_fingerprint_while_it_is_neutral(stand_in, config):
    old = config("recipe=grpo/v1")
    stand_in("optimizer", "adam", NewKey)
    new = config("recipe=grpo/v1")
    assert type(new.optimizer) is NewKey
    assert fingerprint(new) == fingerprint(old)
    used = config("recipe=grpo/v1", "optimizer.lookahead=2")
    assert fingerprint(used) != fingerprint(old)
    assert training_values(used) == training_values(old) | {"optimizer.lookahead": 2}


def test_a_new_key_with_a_default_that_is_not_neutral_changes_it(stand_in, config):
    old = config("recipe=grpo/v1")
    stand_in("optimizer", "adam", NewDefault)
    assert fingerprint(config("recipe=grpo/v1")) != fingerprint(old)
    off = config("recipe=grpo/v1", "optimizer.lookahead=0")
    assert fingerprint(off) == fingerprint(old)


@dataclasses.dataclass(slots=True, kw_only=True)
class NoNoise(Node):
    name: str = "none"
    shown: bool = key("a key that does not train", False, trains=False)


@dataclasses.dataclass(slots=True, kw_only=True)
class Noise(NoNoise):
    name: str = "noise"
    scale: float = key("of the noise", 1.0)


@dataclasses.dataclass(slots=True, kw_only=True)
class WithNoise(K3):
    noise: NoNoise = key("a node that slime has since today", None, neutral=NoNoise)


def test_a_new_node_is_out_while_its_class_is_the_neutral_one(config):
    base = config("loss/kl=k3")

    def trained(noise):
        kl = WithNoise(coefficient=base.loss.kl.coefficient, noise=noise)
        return training_values(replaced(base, "loss.kl", kl))

    assert trained(NoNoise()) == training_values(base)
    assert trained(NoNoise(shown=True)) == training_values(base)
    with_noise = {"loss.kl.noise.name": "noise", "loss.kl.noise.scale": 1.0}
    assert trained(Noise()) == training_values(base) | with_noise


def test_a_key_keeps_its_fingerprint_under_a_new_name(config, monkeypatch):
    values = training_values(config())
    before = module.fingerprint_of(values)
    table = (
        *renamed.RENAMED,
        renamed.Renamed("iterations", "rounds", "0.3"),
        renamed.Renamed("rounds", "turns", "0.4"),
    )
    monkeypatch.setattr(renamed, "RENAMED", table)
    for name in ("rounds", "turns"):
        moved = {name if path == "iterations" else path: v for path, v in values.items()}
        assert module.fingerprint_of(moved) == before


def test_types_are_types_and_not_texts():
    """The fingerprint reads them; `from __future__ import annotations` would make texts of them."""
    schemas = [Config, *(choice.schema for group in GROUPS for choice in group.choices)]
    assert not [f.name for s in schemas for f in dataclasses.fields(s) if isinstance(f.type, str)]
