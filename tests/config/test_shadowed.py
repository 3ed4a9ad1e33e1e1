"""What overrides what: nothing that a person writes is undone without a word."""

from pathlib import Path

import pytest

from slime.config.recipes import find_recipes
from slime.config.schema import ConfigError, ConstantLoss
from slime.config.store import register

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def own(tmp_path):
    """Writes recipes of one's own, NAME -> text, for one test."""

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "v1.yaml").write_text(text)
        register(RECIPES, tmp_path)
        return find_recipes(RECIPES, [tmp_path])

    yield write
    register(RECIPES)


BASE = """
    defaults:
      - override /loss/kl: k3
    loss: {kl: {coefficient: 0.04}}
    seed: 3
"""


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss.divisor=5", "loss/aggregation=dr_grpo"],
        ["loss/aggregation=dr_grpo", "loss.divisor=5"],
        ["loss.divisor=5", "recipe=dr_grpo/v1"],
        ["recipe=dr_grpo/v1", "loss.divisor=5"],
    ],
)
def test_a_value_overrides_what_a_group_or_recipe_sets_wherever_it_stands(overrides, config):
    loss = config(*overrides).loss
    assert type(loss) is ConstantLoss
    assert loss.divisor == 5


def test_the_same_value_twice_is_no_mistake(config):
    assert config("seed=4", "seed=4", "+loss={}").seed == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1", "seed=2"], "seed is set twice, by seed=1 and by seed=2: write only seed=2"),
        (
            ["seed=0,1", "seed=2,3"],
            "seed is set twice, by seed=0,1 and by seed=2,3: write only seed=2,3",
        ),
        (
            ["loss.kl={}", "loss={empty_units:drop}", "loss.empty_units=count", "seed=0,1"],
            "loss.empty_units is set twice, by loss={empty_units:drop} and by "
            "loss.empty_units=count: write only loss.empty_units=count",
        ),
        (
            ["model=tiny", "model=path,smollm2_135m"],
            "model is set twice, by model=tiny and by model=path,smollm2_135m: write only "
            "model=path,smollm2_135m",
        ),
    ],
)
def test_a_sweep_does_not_lose_a_dimension_to_a_second_one(overrides, message, command, tmp_path):
    """Hydra keeps the last (issues 3106, 3283)."""
    ended = command("-m", *overrides)
    assert ended.messages == [message]
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not list(tmp_path.iterdir())


def test_a_sweep_of_nothing_is_a_mistake(command):
    ended = command("-m", "seed=glob(*)")
    assert ended.messages == ["the sweep has no job: one of its lists of values is empty"]
    assert ended.exit_code == 2


def test_a_recipe_overrides_the_one_it_builds_on(own, config):
    own(base=BASE, heir="defaults: [/recipe/base/v1, override /loss/kl: k1]\nseed: 7")
    chosen = config("recipe=heir/v1")
    assert (chosen.seed, chosen.loss.kl.name, chosen.loss.kl.coefficient) == (7, "k1", 0.04)
    assert config("recipe=heir/v1", "seed=8", "loss/kl=k2").loss.kl.name == "k2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "defaults: [_self_, /recipe/base/v1]\nseed: 7",
            "defaults: /recipe/base/v1 after '_self_' undoes this recipe's values: put '_self_' "
            "last",
        ),
        (
            "defaults: [override /loss/kl: k1, override /loss/kl: k2]",
            "defaults: 'override /loss/kl' is there twice: write it once",
        ),
    ],
)
def test_a_recipe_does_not_undo_itself(text, message, own):
    with pytest.raises(ConfigError) as caught:
        own(base=BASE, heir=text).read("heir/v1")
    assert str(caught.value).endswith(f"heir/v1.yaml: {message}")


WRONG = """
    defaults: [/recipe/base/v1, override /loss/kl: k2]
    seed: true
    itrations: 3
    loss: {agregation: constant, empty_units: dorp}
    optimizer: {learning_rate: 2e-5}
"""


def test_every_mistake_of_a_recipe_is_told_with_its_line(command, tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "v1.yaml").write_text(WRONG.replace("/recipe/base/v1", "/recipe/grpo/v1"))
    monkeypatch.setenv("SLIME_RECIPES", str(folder))
    ended = command("recipe=mine/v1", "foo=1", "iterations=true")
    assert [line.partition(" (valid")[0] for line in ended.messages] == [
        "unknown key 'foo'",
        "iterations must be a whole number, got true",
        f"seed must be a whole number, got true (set in {folder}/mine/v1.yaml, line 3)",
        "unknown key 'itrations'; did you mean 'iterations'?",
        "unknown key 'loss.agregation'; did you mean loss/aggregation=constant?",
        "loss.empty_units must be one of its choices, got 'dorp'; did you mean 'drop'?",
    ]
    assert ended.messages[3].endswith(f" (set in {folder}/mine/v1.yaml, line 4)")
