"""loss/aggregation=custom: a function of the user's own, checked at startup and in every step."""

import pytest
import torch
from hypothesis import given
from loss.test_aggregation import shape, steps

from slime.config.schema import AuxiliaryAggregation, ConfigError, CustomLoss, TokenMeanLoss
from slime.loss import build_aggregation, build_auxiliary_aggregation

RANGE = " must return weights that are 0 or from 1e-30 to 1e+30"


def custom(name, **keys):
    return build_aggregation(CustomLoss(function=f"loss.user_weights:{name}", **keys))


@given(step=steps())
def test_a_function_that_computes_a_built_in_mode_gives_its_weights(step):
    got = custom("token_mean")(shape(*step))
    expected = build_aggregation(TokenMeanLoss())(shape(*step))
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_it_sees_prompt_ids_and_a_sample_without_active_tokens_has_weight_zero():
    weights_S = custom("by_prompt")(shape([3, 0, 2], [1, 2, 3], [10, 10, 11]))
    assert weights_S.tolist() == [1.0, 0.0, 2.0]


def test_a_sparse_tensor_of_weights_is_as_good_as_a_dense_one():
    step = shape([3, 4], [1, 2], [10, 11])
    assert custom("sparse")(step).tolist() == custom("token_mean")(step).tolist()


def test_what_it_says_of_a_sample_without_active_tokens_does_not_matter():
    weights_S = custom("one_over_length")(shape([4, 0, 2], [1, 2, 3], [10, 10, 11]))
    assert weights_S.tolist() == [0.25, 0.0, 0.5]


@pytest.mark.parametrize("step", [([0, 0], [1, 2], [1, 1]), ([], [], [])])
def test_it_is_not_asked_about_a_step_without_active_tokens(step):
    assert custom("token_mean")(shape(*step)).tolist() == [0.0] * len(step[0])


def test_what_it_writes_into_its_argument_reaches_nobody_else():
    step = shape([3, 5], [1, 2], [1, 1])
    custom("writes_into_the_step")(step)
    assert (step.active_tokens.tolist(), step.rollout_ids.tolist()) == ([3, 5], [1, 2])


def test_kl_and_entropy_can_use_it_too():
    config = CustomLoss(
        function="loss.user_weights:by_prompt", auxiliary_aggregation=AuxiliaryAggregation.same
    )
    step = shape([3, 4], [1, 2], [10, 11])
    assert build_auxiliary_aggregation(config)(step).tolist() == [1.0, 2.0]
    config = CustomLoss(function="loss.user_weights:by_prompt")
    assert build_auxiliary_aggregation(config)(step).tolist() == [1 / 6, 1 / 8]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.at_all:f", ": cannot import nowhere.at_all (ModuleNotFoundError: No module named "
         "'nowhere'); it must be on PYTHONPATH"),
        ("loss.user_weights:happy", ": loss.user_weights has no happy"),
        ("loss.user_weights:NOT_A_FUNCTION", " is a int, not a function"),
        ("loss.user_weights:no_argument", " must take (step), but takes () -> None"),
        ("loss.user_weights:two_arguments", " must take (step), but takes (step: slime.data.shape."
         "StepShape, config: object) -> None"),
        ("loss.user_weights:raises", " raised RuntimeError: no idea"),
        ("loss.user_weights:leaves", " raised SystemExit: 0"),
        ("loss.user_weights:no_values", " raised NotImplementedError: Cannot copy out of meta "
         "tensor; no data!"),
        ("loss.user_weights:tiny", RANGE + ", returned 1e-60 for a sample of 7 active tokens"),
        ("loss.user_weights:a_list", " must return a tensor of weights, returned a list"),
        ("loss.user_weights:one_number", " must return one weight for each of the 6 samples, "
         "returned the shape ()"),
        ("loss.user_weights:per_rollout", " must return one weight for each of the 6 samples, "
         "returned the shape (5,)"),
        ("loss.user_weights:integers", " must return floating-point weights, returned torch.int64"),
        ("loss.user_weights:one_over_shorter", RANGE + ", returned inf for "
         "a sample of 1 active tokens"),
        ("loss.user_weights:negative", RANGE + ", returned -3.0 for a "
         "sample of 7 active tokens"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_used_is_a_config_error_before_the_run(path, said):
    with pytest.raises(ConfigError) as error:
        build_aggregation(CustomLoss(function=path))
    assert str(error.value) == f"loss.function={path}{said}"


@pytest.mark.parametrize("path", ["", "f", ":f", "a.b:", "a..b:f", ".a:f", "a:b.c", "a b:c"])
def test_a_value_that_names_no_function_is_a_config_error(path):
    with pytest.raises(ConfigError, match=r"^loss.function must be package.module:name, got "):
        build_aggregation(CustomLoss(function=path))
    with pytest.raises(ConfigError, match=r"^loss.function is required$"):
        build_aggregation(CustomLoss())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong_from_eight_samples_on", RANGE + ", returned nan for a "
         "sample of 2 active tokens"),
        ("fails_from_eight_samples_on", " raised KeyError: 8"),
    ],
)  # fmt: skip
def test_a_step_of_the_run_is_checked_like_the_first_one(name, said):
    step = shape([2] * 8, range(8), [1] * 8)
    with pytest.raises(ValueError, match=r"loss.function=") as error:
        custom(name)(step)
    assert str(error.value) == f"loss.function=loss.user_weights:{name}{said}"
