import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss.loss_oracle import step_weights

from slime.config.schema import (
    AuxiliaryAggregation,
    ConfigError,
    ConstantLoss,
    EmptyUnits,
    LossConfig,
    PromptMeanLoss,
    SampleMeanLoss,
    TokenMeanLoss,
)
from slime.data import StepShape
from slime.loss import build_aggregation, build_auxiliary_aggregation

MODES = {
    "sample_mean": SampleMeanLoss,
    "prompt_mean": PromptMeanLoss,
    "token_mean": TokenMeanLoss,
    "constant": lambda **keys: ConstantLoss(divisor=37.5, **keys),
}


def shape(active, rollouts, prompts=None):
    return StepShape(
        torch.tensor(active, dtype=torch.int64),
        torch.tensor(rollouts, dtype=torch.int64),
        None if prompts is None else torch.tensor(prompts, dtype=torch.int64),
    )


@st.composite
def steps(draw):
    """Ragged prompts of rollouts that fan out into samples, some empty, in any order, odd ids."""
    samples = []
    for prompt in draw(st.lists(st.integers(-9, 99), min_size=1, max_size=4, unique=True)):
        for rollout in range(draw(st.integers(1, 4))):
            for _ in range(draw(st.integers(1, 3))):
                tokens = draw(st.one_of(st.just(0), st.integers(0, 50)))
                samples.append((tokens, 1000 * prompt + rollout, prompt))
    active, rollouts, prompts = zip(*draw(st.permutations(samples)), strict=True)
    return list(active), list(rollouts), list(prompts)


@pytest.mark.parametrize("mode", MODES)
@given(step=steps(), empty_units=st.sampled_from(EmptyUnits))
def test_weights_are_those_of_the_formula(mode, step, empty_units):
    weights_S = build_aggregation(MODES[mode](empty_units=empty_units))(shape(*step))
    expected = step_weights(mode, *step, drop_empty=empty_units is EmptyUnits.drop, divisor=37.5)
    assert weights_S.dtype == torch.float64
    assert weights_S.tolist() == pytest.approx(expected, rel=1e-15, abs=0)


@pytest.mark.parametrize("mode", MODES)
@given(step=steps(), empty_units=st.sampled_from(EmptyUnits))
def test_weights_are_finite_and_zero_exactly_where_a_sample_has_no_active_token(
    mode, step, empty_units
):
    weights_S = build_aggregation(MODES[mode](empty_units=empty_units))(shape(*step))
    assert all(math.isfinite(w) for w in weights_S)
    assert [w > 0 for w in weights_S] == [a > 0 for a in step[0]]


@pytest.mark.parametrize("mode", ["sample_mean", "prompt_mean", "token_mean"])
@given(step=steps())
def test_the_weights_of_a_mean_add_up_to_one_over_the_active_tokens(mode, step):
    weights_S = build_aggregation(MODES[mode](empty_units=EmptyUnits.drop))(shape(*step))
    total = sum(w * a for w, a in zip(weights_S.tolist(), step[0], strict=True))
    assert total == pytest.approx(1.0 if any(step[0]) else 0.0)


@pytest.mark.parametrize("mode", MODES)
@given(step=steps(), seed=st.randoms(use_true_random=False))
def test_a_samples_weight_does_not_depend_on_its_place_in_the_step(mode, step, seed):
    order = list(range(len(step[0])))
    seed.shuffle(order)
    aggregate = build_aggregation(MODES[mode]())
    shuffled = aggregate(shape(*([values[i] for i in order] for values in step)))
    assert shuffled.tolist() == aggregate(shape(*step))[order].tolist()


@pytest.mark.parametrize("mode", ["sample_mean", "constant"])
def test_a_rollout_of_several_samples_counts_once(mode):
    # rollout 7 fans out into two samples of 2 and 6 tokens, rollout 8 is one sample of 4
    weights_S = build_aggregation(MODES[mode]())(shape([2, 4, 6], [7, 8, 7]))
    expected = {"sample_mean": [1 / 16, 1 / 8, 1 / 16], "constant": [1 / 75] * 3}
    assert weights_S.tolist() == pytest.approx(expected[mode])


def test_prompts_are_counted_from_ids_and_may_have_any_number_of_rollouts():
    # prompt 5 has three rollouts, prompt 6 one: N / group size would be 4/3 or 4, P is 2
    weights_S = build_aggregation(PromptMeanLoss())(shape([1, 2, 3, 4], [0, 1, 2, 3], [5, 5, 5, 6]))
    assert weights_S.tolist() == pytest.approx([1 / 12, 1 / 12, 1 / 12, 1 / 8])


def test_a_fully_masked_rollout_counts_once_in_n_and_adds_no_token():
    step = shape([0, 0, 4, 4], [1, 1, 2, 3])
    assert build_aggregation(SampleMeanLoss())(step).tolist() == [0, 0, 1 / 12, 1 / 12]
    assert build_aggregation(TokenMeanLoss())(step).tolist() == [0, 0, 1 / 8, 1 / 8]


def test_a_fully_masked_rollout_does_not_count_when_empty_units_are_dropped():
    step = shape([0, 0, 4, 4], [1, 1, 2, 3], [9, 9, 2, 2])
    drop = EmptyUnits.drop
    assert build_aggregation(SampleMeanLoss(empty_units=drop))(step)[2] == 1 / 8
    assert build_aggregation(PromptMeanLoss(empty_units=drop))(step)[2] == 1 / 8
    assert build_aggregation(PromptMeanLoss())(step)[2] == 1 / 16
    assert build_aggregation(ConstantLoss(divisor=10.0, empty_units=drop))(step)[2] == 1 / 20


@pytest.mark.parametrize("empty_units", EmptyUnits)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [([0, 0], [1, 2], [1, 1]), ([], [], [])])
def test_a_step_without_active_tokens_has_zero_weights_and_no_nan(mode, step, empty_units):
    weights_S = build_aggregation(MODES[mode](empty_units=empty_units))(shape(*step))
    assert weights_S.tolist() == [0.0] * len(step[0])


def test_constant_is_one_over_rollouts_times_divisor_whatever_the_lengths():
    weights_S = build_aggregation(ConstantLoss(divisor=40960))(shape([1, 500, 3], [1, 2, 3]))
    assert weights_S.tolist() == pytest.approx([1 / (3 * 40960)] * 3, rel=1e-15)


def test_prompt_mean_without_prompt_ids_is_an_error_that_says_what_is_missing():
    with pytest.raises(ValueError, match="needs the prompt id of every sample"):
        build_aggregation(PromptMeanLoss())(shape([1, 2], [1, 2]))


@pytest.mark.parametrize("mode", ["sample_mean", "token_mean", "constant"])
def test_the_other_modes_need_no_prompt_ids(mode):
    assert len(build_aggregation(MODES[mode]())(shape([1, 2], [1, 2]))) == 2


@pytest.mark.parametrize("divisor", [0.0, -1.0, math.nan, math.inf, True, "abc"])
def test_a_divisor_that_is_no_positive_number_is_a_config_error_naming_the_key(divisor):
    with pytest.raises(ConfigError, match=r"^loss.divisor must be a finite number > 0"):
        build_aggregation(ConstantLoss(divisor=divisor))


def test_a_missing_divisor_is_a_config_error():
    with pytest.raises(ConfigError, match=r"loss.divisor"):
        build_aggregation(ConstantLoss())


def test_a_loss_node_of_no_known_mode_is_a_config_error():
    with pytest.raises(ConfigError, match="got a LossConfig"):
        build_aggregation(LossConfig(aggregation="median"))


@pytest.mark.parametrize("mode", MODES)
@given(step=steps(), empty_units=st.sampled_from(EmptyUnits))
def test_kl_and_entropy_are_a_sample_mean_except_under_token_mean(mode, step, empty_units):
    config = MODES[mode](empty_units=empty_units)
    expected = step_weights(
        mode if mode == "token_mean" else "sample_mean",
        *step,
        drop_empty=empty_units is EmptyUnits.drop,
    )
    weights_S = build_auxiliary_aggregation(config)(shape(*step))
    assert weights_S.tolist() == pytest.approx(expected, rel=1e-15, abs=0)


@given(
    step=steps(),
    mode=st.sampled_from(sorted(MODES)),
    auxiliary=st.sampled_from([a for a in AuxiliaryAggregation if a.name != "auto"]),
    empty_units=st.sampled_from(EmptyUnits),
)
def test_kl_and_entropy_are_averaged_as_told(mode, auxiliary, step, empty_units):
    config = MODES[mode](empty_units=empty_units, auxiliary_aggregation=auxiliary)
    expected = step_weights(
        mode if auxiliary is AuxiliaryAggregation.same else auxiliary.name,
        *step,
        drop_empty=empty_units is EmptyUnits.drop,
        divisor=37.5,
    )
    weights_S = build_auxiliary_aggregation(config)(shape(*step))
    assert weights_S.tolist() == pytest.approx(expected, rel=1e-15, abs=0)


def test_an_auxiliary_prompt_mean_needs_prompt_ids_too():
    auxiliary = AuxiliaryAggregation.prompt_mean
    aggregate = build_auxiliary_aggregation(SampleMeanLoss(auxiliary_aggregation=auxiliary))
    with pytest.raises(ValueError, match=r"prompt_mean needs .* loss.auxiliary_aggregation"):
        aggregate(shape([1, 2], [1, 2]))


def test_a_small_integer_type_does_not_overflow():
    many = torch.full((1000,), 100, dtype=torch.int8)
    weights_S = build_aggregation(SampleMeanLoss())(StepShape(many, torch.zeros(1000).int()))
    assert weights_S.unique().tolist() == [1 / 100_000]


def test_weights_are_float64_whatever_torchs_default_is():
    step = shape([3, 1, 2], [1, 2, 3], [5, 5, 6])
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = {mode: build_aggregation(make())(step) for mode, make in MODES.items()}
    finally:
        torch.set_default_dtype(torch.float32)
    for mode, weights_S in found.items():
        assert weights_S.dtype == torch.float64
        assert weights_S.tolist() == build_aggregation(MODES[mode]())(step).tolist()


@pytest.mark.parametrize("build", [build_aggregation, build_auxiliary_aggregation])
def test_what_is_no_config_node_is_a_config_error(build):
    with pytest.raises(ConfigError, match="a config node is needed here, got a NoneType"):
        build(None)
