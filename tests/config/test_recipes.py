"""recipes/NAME/vN.yaml: published compositions."""

from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from slime.config.recipes import read_recipe, recipe_names
from slime.config.schema import K3, ConfigError, GrpoAdvantage, SampleMeanLoss, TokenMeanLoss
from slime.config.store import register, registered_recipes

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def recipe(tmp_path):
    """Makes recipe=test/v1 from a text, for one test."""

    def write(text):
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "v1.yaml").write_text(text)
        register(tmp_path)

    yield write
    ConfigStore.instance().repo["recipe"].pop("test", None)


def test_the_recipes_are_the_files(config):
    config()
    assert registered_recipes() == recipe_names(RECIPES) == ["grpo/v1"]


def test_grpo_is_the_paper_s(config):
    grpo = config("recipe=grpo/v1")
    assert type(grpo.loss) is SampleMeanLoss
    assert type(grpo.loss.kl) is K3
    assert grpo.loss.kl.coefficient == 0.04
    assert (grpo.loss.objective.clip_low, grpo.loss.objective.clip_high) == (0.2, 0.2)
    assert type(grpo.advantage) is GrpoAdvantage
    assert grpo.steps_per_iteration == 1
    assert grpo.recipe == "grpo/v1"


def test_a_recipe_overrides_the_group_defaults_and_the_command_line_overrides_the_recipe(
    recipe, config
):
    recipe("""
        defaults:
          - override /loss/aggregation: token_mean
        loss: {objective: {clip_high: 0.3}}
        seed: 7
    """)
    assert type(config().loss) is SampleMeanLoss
    chosen = config("recipe=test/v1")
    assert type(chosen.loss) is TokenMeanLoss
    assert (chosen.loss.objective.clip_high, chosen.seed) == (0.3, 7)
    chosen = config("recipe=test/v1", "loss/aggregation=dr_grpo", "seed=8")
    assert chosen.loss.aggregation == "constant"
    assert (chosen.loss.objective.clip_high, chosen.seed) == (0.3, 8)
    assert config("seed=8", "recipe=test/v1") == config("recipe=test/v1", "seed=8")


def test_a_recipe_can_build_on_another(recipe, config):
    recipe("""
        defaults:
          - /recipe/grpo/v1
          - _self_
        loss: {objective: {clip_high: 0.28}}
    """)
    chosen = config("recipe=test/v1")
    assert (chosen.loss.objective.clip_high, chosen.loss.kl.coefficient) == (0.28, 0.04)
    assert chosen.recipe == "test/v1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss: {foo: 1}", "unknown key 'loss.foo' (valid keys of loss: auxiliary_aggregation"),
        ("foo: 1", "unknown key 'foo' (valid keys: advantage"),
        ("loss: {divisor: 5}", "'loss.divisor' is not used by loss/aggregation=sample_mean"),
        ("seed: true", "seed: Value 'True' of type 'bool' could not be converted to Integer"),
        ("loss: {aggregation: constant}", "select it with loss/aggregation=constant"),
        ("loss: {_target_: os.system}", "unknown key 'loss._target_'"),
        ("seed: -1", "seed must be in [0, 4294967295], got -1"),
    ],
)
def test_a_recipe_with_a_wrong_key_is_an_error_when_it_is_chosen(text, message, recipe, config):
    recipe(text)
    config()
    with pytest.raises(ConfigError) as caught:
        config("recipe=test/v1")
    assert str(caught.value).startswith(message) or message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hydra: {run: {dir: x}}", "a recipe may not set hydra.*"),
        ("hydra.run.dir: x", "a recipe may not set hydra.*"),
        ("defaults: [{override /hydra/launcher: x}]", "is not 'override /group'"),
        ("defaults: [{/model@hydra.callbacks.x: tiny}]", "is not 'override /group'"),
        ("defaults: [{model: tiny}]", "did you mean 'override /model'?"),
        ("defaults: [{override /loss/aggregation: mean}]", "unknown loss/aggregation 'mean'"),
        ("defaults: [hydra/launcher]", "hydra/launcher is none of '_self_'"),
        ("defaults: {model: tiny}", "'defaults' must be a list"),
        ("recipe: other", "a recipe may not set 'recipe'"),
        ("[1, 2]", "a recipe is a mapping"),
        ("a: [1\nb: 2", "not valid YAML in line 2"),
    ],
)
def test_a_recipe_is_data_and_only_selects_what_exists(text, message, tmp_path):
    (tmp_path / "v1.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"v1\.yaml: ") as caught:
        read_recipe(tmp_path, "v1")
    assert message in str(caught.value)


def test_every_value_of_a_recipe_is_in_its_header():
    text = (RECIPES / "grpo" / "v1.yaml").read_text()
    header = text[: text.index("defaults:")]
    assert "arXiv:2402.03300" in header
    for name in (
        "sample_mean", "k3", "0.04", "clip_low", "clip_high", "entropy_coefficient", "grpo",
        "steps_per_iteration", "temperature", "top_p",
    ):  # fmt: skip
        assert name in header
