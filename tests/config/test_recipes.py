"""recipes/NAME/vN.yaml: published compositions."""

import dataclasses
from operator import attrgetter
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from slime.config.fingerprint import fingerprint
from slime.config.groups import BY_NAME
from slime.config.help import default_choices
from slime.config.recipes import find_recipes, recipe_names
from slime.config.schema import (
    K3,
    ConfigError,
    GrpoAdvantage,
    SampleMeanLoss,
    TokenMeanLoss,
    Whitening,
)
from slime.config.store import register, registered_recipes

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"


@pytest.fixture
def recipe(tmp_path):
    """Makes recipe=test/v1, or another name, from a text, for one test."""

    def write(text, name="test/v1"):
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text))
        register(RECIPES, tmp_path)
        return file

    yield write
    register(RECIPES)


def test_the_recipes_are_the_files(config):
    config()
    assert registered_recipes() == recipe_names(RECIPES)
    assert "grpo/v1" in registered_recipes()


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


def test_group_defaults_then_the_inherited_recipe_then_the_recipe_then_the_command_line(
    recipe, config
):
    """Each of four keys is set by one more of the four; so is each of three groups."""
    recipe(
        """
        defaults:
          - override /loss/kl: k1
          - override /advantage: dr_grpo
        rollout: {temperature: 0.5, top_p: 0.5}
        seed: 5
        """,
        "test/old",
    )
    recipe("""
        defaults:
          - /recipe/test/old
          - override /loss/kl: k2
        rollout: {top_p: 0.6}
        seed: 6
    """)
    chosen = config("seed=7", "recipe=test/v1")
    rollout = chosen.rollout
    assert (rollout.max_response_tokens, rollout.temperature, rollout.top_p) == (8, 0.5, 0.6)
    assert chosen.seed == 7
    assert (chosen.loss.kl.name, chosen.advantage.name) == ("k2", "dr_grpo")
    chosen = config("loss/kl=k3", "recipe=test/v1", "advantage=grpo")
    assert (chosen.loss.kl.name, chosen.advantage.name) == ("k3", "grpo")


def test_of_two_inherited_recipes_the_later_one_wins(recipe, config):
    recipe("{defaults: [{override /loss/kl: k1}], seed: 1, iterations: 3}", "test/a")
    recipe("{defaults: [{override /loss/kl: k2}], seed: 2}", "test/b")
    recipe("defaults: [/recipe/test/a, /recipe/test/b]")
    chosen = config("recipe=test/v1")
    assert (chosen.loss.kl.name, chosen.seed, chosen.iterations) == ("k2", 2, 3)


def test_a_cycle_of_recipes_is_one_line_that_shows_the_circle(recipe, config):
    recipe("defaults: [/recipe/test/b]", "test/a")
    file = recipe("defaults: [/recipe/test/c]", "test/b")
    file = recipe("defaults: [/recipe/test/b]", "test/c")
    with pytest.raises(ConfigError) as caught:
        config("recipe=test/a")
    assert str(caught.value) == (
        f"{file}: defaults: a recipe cannot inherit itself: test/b -> test/c -> test/b"
    )
    recipe("defaults: [/recipe/test/v1]")
    with pytest.raises(ConfigError, match=r"inherit itself: test/v1 -> test/v1$"):
        config("recipe=test/v1")


def test_an_inherited_recipe_that_is_not_there_is_named_with_what_was_meant(recipe, config):
    file = recipe("defaults: [/recipe/grpo/v11]")
    with pytest.raises(ConfigError) as caught:
        config("recipe=test/v1")
    assert str(caught.value).startswith(
        f"{file}: defaults: unknown recipe 'grpo/v11'; did you mean 'grpo/v1'? (valid: "
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss: {foo: 1}", "unknown key 'loss.foo' (valid keys of loss: auxiliary_aggregation"),
        ("foo: 1", "unknown key 'foo' (valid keys: advantage"),
        ("loss: {divisor: 5}", "'loss.divisor' is not used by loss/aggregation=sample_mean"),
        ("seed: true", "seed must be a whole number, got true (set in "),
        ("loss: {aggregation: constant}", "write - override /loss/aggregation: constant"),
        ("seed: '1'", "seed must be a whole number, got '1' (set in "),
        ("parallel: {sequence: 'yes'}", "parallel.sequence must be true or false, got 'yes'"),
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
        ("_target_: os.system", "may not call anything: drop _target_"),
        ("loss: {kl: {_target_: os.system}}", "may not call anything: drop loss.kl._target_"),
        ("loss: {kl._target_: os.system}", "may not call anything: drop loss.kl._target_"),
        ("a: [{b: {_target_: os.system}}]", "may not call anything: drop a.b._target_"),
        ("loss: {_args_: [x]}", "may not call anything: drop loss._args_"),
        ("defaults: [/recipe/grpo/v1@hydra.launcher]", "unknown recipe 'grpo/v1@hydra.launcher'"),
        ("defaults: ['/recipe/${x}']", "unknown recipe '${x}'"),
        ("defaults: [{override /hydra/launcher: x}]", "is not 'override /group'"),
        ("defaults: [{/model@hydra.callbacks.x: tiny}]", "is not 'override /group'"),
        ("defaults: [{model: tiny}]", "did you mean 'override /model'?"),
        ("defaults: [{override /loss/aggregation: mean}]", "unknown loss/aggregation 'mean'"),
        ("defaults: [hydra/launcher]", "hydra/launcher is none of '_self_'"),
        ("defaults: {model: tiny}", "'defaults' must be a list"),
        ("recipe: other", "a recipe may not set 'recipe'"),
        ("command: check", "a recipe may not set 'command'"),
        ("run: runs/a", "a recipe may not set 'run'"),
        ("sweep: {resume: true}", "a recipe may not set 'sweep'"),
        ("defaults:", "'defaults' must be a list"),
        ("defaults: [{override /recipe: grpo/v1}]", "write - /recipe/grpo/v1"),
        ("rollout.top_p: 0.5", "a recipe has a key below its node: write rollout: {top_p: ...}"),
        ("loss: {kl.coefficient: 1}", "a recipe has a key below its node: write kl: {coefficient"),
        ("model: tiny", "model: a recipe chooses in defaults: write - override /model: tiny"),
        ("rollout: {filter: none}", "write - override /rollout/filter: none"),
        ("loss/aggregation: constant", "write - override /loss/aggregation: constant"),
        ("seed: '${oc.env:HOME}'", "asks the machine it runs on"),
        ("[1, 2]", "a recipe is a mapping"),
        ("a: [1\nb: 2", "not valid YAML in line 2"),
    ],
)
def test_a_recipe_is_data_and_only_selects_what_exists(text, message, tmp_path):
    (tmp_path / "v1.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"v1\.yaml: ") as caught:
        find_recipes(tmp_path, ()).read("v1")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", recipe_names(RECIPES))
def test_the_header_of_a_recipe_accounts_for_all_that_is_no_default(name, config):
    text = (RECIPES / f"{name}.yaml").read_text()
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert text.startswith("# ")
    recipe, composed = yaml.safe_load(text), config(f"recipe={name}")
    taken = [f"override /{group}: {c}" for group, c in default_choices(ROOT / "conf").items()]
    for entry in recipe.pop("defaults", []):
        [(key, word)] = entry.items() if isinstance(entry, dict) else [("", entry)]
        if f"{key}: {word}" not in taken and word != "_self_":
            assert word.removeprefix("/recipe/") in header, entry
    for key, value, default in leaves(recipe, composed):
        assert key in header or getattr(default, "name", default) == value, key


def leaves(recipe, node):
    """(key, value, default of slime) of every value that the recipe sets."""
    defaults = {field.name: field.default for field in dataclasses.fields(node)}
    for key, value in recipe.items():
        if isinstance(value, dict):
            yield from leaves(value, getattr(node, key))
        else:
            yield key, value, defaults[key]


# ---- group defaults < recipe < command line, for choices too ----

CHOICES = {
    # recipe and choice -> key and the value it has: the choice's own, unless both mean the same
    "recipe=rloo/v1 loss/aggregation=dr_grpo": ("loss.divisor", 8.0),
    "recipe=dapo/v1 loss/objective=gspo loss/aggregation=sample_mean": (
        "loss.objective.clip_high",
        4e-4,
    ),
    "recipe=gspo/v1 loss/objective=ppo": ("loss.objective.clip_high", 0.2),
    "recipe=scalerl/v1 advantage=reinforce_plus_plus": ("advantage.whitening", Whitening.tokens),
    "recipe=grpo/v1 loss/kl=k1": ("loss.kl.coefficient", 0.04),
    "recipe=dapo/v1 loss/aggregation=prompt_mean": ("loss.objective.clip_high", 0.28),
    "recipe=dapo/v1 loss/objective=ppo": ("loss.objective.clip_high", 0.28),
}


@pytest.mark.parametrize("line", CHOICES)
def test_a_choice_that_replaces_a_recipes_own_brings_its_own_values(line, config):
    key, value = CHOICES[line]
    assert attrgetter(key)(config(*line.split())) == value


@pytest.mark.parametrize(
    "line",
    [
        "recipe=grpo/v1 loss/kl=none",
        "recipe=dapo/v1 rollout/filter=none",
        "recipe=dapo/v1 reward/overlong=none",
        "recipe=dapo/v1 loss/objective=reinforce",
        "recipe=deepswe/v1 loss/aggregation=sample_mean",
    ],
)
def test_what_a_recipe_chose_can_be_switched_off(line, config):
    recipe, choice = line.split()
    off = config(recipe, choice)
    group, _, name = choice.partition("=")
    node = attrgetter(BY_NAME[group].node)(off)
    assert getattr(node, BY_NAME[group].label) == name
    assert fingerprint(off) != fingerprint(config(recipe))


def test_a_key_on_the_command_line_goes_to_the_choice_that_has_won(config):
    kl = config("recipe=grpo/v1", "loss/kl=k1", "loss.kl.coefficient=0.5").loss.kl
    assert (kl.name, kl.coefficient) == ("k1", 0.5)
    with pytest.raises(ConfigError, match=r"'loss.kl.coefficient' is not used by loss/kl=none"):
        config("recipe=grpo/v1", "loss/kl=none", "loss.kl.coefficient=0.5")


def test_an_heir_that_chooses_anew_is_rid_of_the_old_choices_keys(recipe, config):
    recipe("defaults: [/recipe/rloo/v1, {override /loss/aggregation: dr_grpo}]")
    heir = config("recipe=test/v1")
    assert heir.loss.divisor == heir.rollout.max_response_tokens == 8
    assert heir.loss.kl.coefficient == 0.05


def test_a_key_that_the_recipes_own_choice_does_not_have_is_still_an_error(recipe, config):
    recipe("loss: {divisor: 5}")
    with pytest.raises(ConfigError, match=r"loss.divisor' is not used by loss/aggregation=token"):
        config("recipe=test/v1", "loss/aggregation=token_mean")


def test_a_sweep_over_choices_gives_each_job_its_own_keys(command):
    ended = command("-m", "recipe=rloo/v1", "loss/aggregation=constant,dr_grpo", "model=tiny")
    assert [config.loss.divisor for config, _ in ended.trained] == [1.0, 8.0]
