"""Against loops in float64 over the whole vocabulary, written from the definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slime.rollout.engine import Sampling
from slime.rollout.sampling import build_sampler, uniform_numbers


def sampler(temperature=1.0, top_p=1.0):
    return build_sampler(Sampling(temperature, top_p, 1, frozenset()))


def distribution(logits, temperature, top_p):
    """{token: probability} from the definition of temperature and nucleus sampling."""
    scaled = [value / temperature for value in logits]
    top = max(scaled)
    weights = [math.exp(value - top) for value in scaled]
    probs = [weight / math.fsum(weights) for weight in weights]
    kept, mass = {}, 0.0
    for token in sorted(range(len(probs)), key=lambda t: (-probs[t], t)):
        if mass >= top_p:
            break
        kept[token] = probs[token]
        mass += probs[token]
    return {token: p / mass for token, p in kept.items()}


SIZES = [1, 5, 256, 257, 3000]


@pytest.mark.parametrize("vocabulary", SIZES)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.3, 0.9), (1.0, 0.2)])
def test_log_probs_are_those_of_the_distribution_that_was_sampled(vocabulary, temperature, top_p):
    torch.manual_seed(vocabulary)
    logits = 3 * torch.randn(8, vocabulary)
    numbers = uniform_numbers(range(8), 1)[:, 0]
    tokens, log_probs = sampler(temperature, top_p)(logits, numbers)
    for row in range(8):
        expected = distribution(logits[row].double().tolist(), temperature, top_p)
        assert math.log(expected[tokens[row].item()]) == pytest.approx(
            log_probs[row].item(), abs=2e-6
        )


@pytest.mark.parametrize("vocabulary", SIZES)
def test_a_number_picks_the_token_in_which_the_cumulative_distribution_passes_it(vocabulary):
    torch.manual_seed(vocabulary)
    logits = torch.randn(vocabulary, dtype=torch.float64)
    cumulative = torch.softmax(logits, -1).cumsum(-1)
    numbers = uniform_numbers([1], 200)[0]
    tokens, _ = sampler()(logits.float().expand(200, -1), numbers)
    for number, token in zip(numbers.tolist(), tokens.tolist(), strict=True):
        below = cumulative[token - 1].item() if token else 0.0
        assert below - 1e-6 <= number <= cumulative[token].item() + 1e-6


@pytest.mark.parametrize("top_p", [1.0, 0.8])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_frequencies_match_the_distribution(temperature, top_p):
    draws = 20_000
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])
    numbers = uniform_numbers([7], draws)[0]
    tokens, _ = sampler(temperature, top_p)(logits.expand(draws, -1), numbers)
    expected = distribution(logits.tolist(), temperature, top_p)
    counts = tokens.bincount(minlength=6).tolist()
    assert {token for token in range(6) if counts[token]} == set(expected)
    chi_square = sum((counts[t] - draws * p) ** 2 / (draws * p) for t, p in expected.items())
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded once in a thousand


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([1.0, 0.999, 0.5, 1e-9]),
)
def test_a_token_without_probability_is_never_drawn(logits, number, top_p):
    row = torch.tensor([*logits, -math.inf])
    tokens, log_probs = sampler(1.0, top_p)(row[None], torch.tensor([number], dtype=torch.float64))
    assert tokens.item() < len(logits)
    assert math.isfinite(log_probs.item())


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_pick_tokens_with_probability(number):
    logits = torch.full((600,), -math.inf)
    logits[[300, 301]] = torch.tensor([0.0, -5.0])
    tokens, _ = sampler()(logits[None], torch.tensor([number], dtype=torch.float64))
    assert tokens.item() == (300 if number == 0.0 else 301)


def test_of_equally_likely_tokens_the_lower_ids_are_in_the_nucleus():
    numbers = uniform_numbers([3], 5000)[0]
    tokens, log_probs = sampler(1.0, 0.5)(torch.zeros(5000, 256), numbers)
    assert set(tokens.tolist()) == set(range(128))
    assert log_probs.exp().tolist() == pytest.approx([1 / 128] * 5000)


def test_a_nucleus_of_most_of_a_large_vocabulary_is_complete():
    numbers = uniform_numbers([3], 2000)[0]
    tokens, log_probs = sampler(1.0, 0.9)(torch.zeros(2000, 5000), numbers)
    assert tokens.max().item() > 4400
    assert log_probs[0].exp().item() == pytest.approx(1 / 4500, rel=1e-3)


def test_greedy_takes_the_likeliest_token_with_log_prob_0():
    tokens, log_probs = sampler(0.0)(torch.tensor([[1.0, 3.0, 2.0]]), torch.zeros(1).double())
    assert (tokens.item(), log_probs.item(), log_probs.dtype) == (1, 0.0, torch.float32)


def test_a_row_is_drawn_alone_as_it_is_in_company():
    torch.manual_seed(0)
    logits, numbers = torch.randn(6, 2000), uniform_numbers(range(6), 1)[:, 0]
    for draw in (sampler(), sampler(0.8, 0.95)):
        together = draw(logits, numbers)
        for row in range(6):
            alone = draw(logits[row : row + 1], numbers[row : row + 1])
            assert alone[0].item() == together[0][row].item()
            assert alone[1].item() == together[1][row].item()


def test_streams_of_numbers_depend_on_the_seed_alone():
    both = uniform_numbers([5, 2**63 + 5], 4)
    assert both.dtype == torch.float64
    assert torch.equal(uniform_numbers([2**63 + 5], 4)[0], both[1])
    assert torch.equal(uniform_numbers([5], 2)[0], both[0, :2])
    assert not torch.equal(both[0], both[1])
