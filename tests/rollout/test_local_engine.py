"""The local engine against transformers' own full forward pass, without cache or padding."""

import functools
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save
from tiny_models import VOCABULARY, tiny_weights, write_tiny_model

from slime.config.schema import Precision
from slime.data import Finish
from slime.rollout.engine import Request, Sampling
from slime.rollout.local import LocalEngine

PROMPTS = [(5, 6, 7), (8,), (9, 10, 11, 12, 13, 14, 15), (5, 6)]


def sampling(temperature=1.0, top_p=1.0, tokens=10, stops=()):
    return Sampling(temperature, top_p, tokens, frozenset(stops))


def requests(samples=3, prompts=PROMPTS):
    return [Request(p, seed=1000 * i + s) for i, p in enumerate(prompts) for s in range(samples)]


@functools.cache
def reference(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_tiny_model(tmp_path_factory.mktemp("models") / "llama", "llama"))


@pytest.fixture(scope="module")
def engine(folder):
    return LocalEngine(folder, batch_size=128)


@torch.inference_mode()
def log_probs_of(model, prompt, response, temperature=1.0, top_p=1.0):
    """Teacher-forced, one sequence at a time; -> [R]"""
    tokens = torch.tensor([[*prompt, *response]])
    logits = model(tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
    log_probs = torch.log_softmax(logits / temperature, -1)
    if top_p < 1:
        ordered, order = log_probs.exp().sort(dim=-1, descending=True, stable=True)
        outside = ordered.cumsum(-1) - ordered >= top_p
        log_probs = log_probs.masked_fill(outside.gather(-1, order.argsort(-1)), -torch.inf)
        log_probs = torch.log_softmax(log_probs, -1)
    return log_probs.gather(-1, torch.tensor(response)[:, None])[:, 0]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "qwen3_moe"])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (0.7, 0.5)])
def test_log_probs_are_those_of_a_full_forward_pass(tmp_path, family, temperature, top_p):
    folder = str(write_tiny_model(tmp_path / family, family))
    asked = requests()
    generations = LocalEngine(folder, 128).generate(asked, sampling(temperature, top_p))
    for request, generation in zip(asked, generations, strict=True):
        expected = log_probs_of(
            reference(folder),
            request.prompt_tokens,
            generation.tokens_R.tolist(),
            temperature,
            top_p,
        )
        torch.testing.assert_close(generation.log_probs_R.double(), expected, rtol=0, atol=1e-4)


def test_greedy_takes_the_best_token_of_a_full_forward_pass_each_time(engine, folder):
    for request, generation in zip(
        requests(1), engine.generate(requests(1), sampling(0.0)), strict=True
    ):
        tokens = torch.tensor([[*request.prompt_tokens, *generation.tokens_R.tolist()]])
        with torch.inference_mode():
            best = (
                reference(folder)(tokens).logits[0, len(request.prompt_tokens) - 1 : -1].argmax(-1)
            )
        assert torch.equal(best, generation.tokens_R)
        assert generation.log_probs_R.tolist() == [0.0] * 10


def same(one, other):
    return torch.equal(one.tokens_R, other.tokens_R) and torch.allclose(
        one.log_probs_R, other.log_probs_R, rtol=0, atol=1e-5
    )


def test_a_run_repeats(engine, folder):
    first = engine.generate(requests(), sampling())
    second = LocalEngine(folder, 128).generate(requests(), sampling())
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.tokens_R, other.tokens_R)
        assert torch.equal(one.log_probs_R, other.log_probs_R)
        assert one.finish is other.finish


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_request_gets_the_same_tokens_in_any_company(folder, engine, batch_size, top_p):
    stops = range(10, 30)
    together = engine.generate(requests(), sampling(top_p=top_p, stops=stops))
    apart = LocalEngine(folder, batch_size).generate(requests(), sampling(top_p=top_p, stops=stops))
    assert all(same(one, other) for one, other in zip(together, apart, strict=True))
    turned = engine.generate(requests()[::-1], sampling(top_p=top_p, stops=stops))
    assert all(same(one, other) for one, other in zip(together, turned[::-1], strict=True))


def test_rollouts_of_a_prompt_differ_by_their_seeds_alone(engine):
    twice = [Request(PROMPTS[0], seed) for seed in (1, 2, 1)]
    first, second, third = engine.generate(twice, sampling())
    assert same(first, third)
    assert not torch.equal(first.tokens_R, second.tokens_R)


def test_a_response_ends_with_its_first_stop_token_and_is_otherwise_unchanged(engine):
    stops = set(range(0, VOCABULARY, 6))
    endless = engine.generate(requests(8), sampling())
    finishes = set()
    for full, cut in zip(endless, engine.generate(requests(8), sampling(stops=stops)), strict=True):
        at = [i for i, token in enumerate(full.tokens_R.tolist()) if token in stops]
        length = at[0] + 1 if at else 10
        torch.testing.assert_close(cut.tokens_R, full.tokens_R[:length], rtol=0, atol=0)
        torch.testing.assert_close(cut.log_probs_R, full.log_probs_R[:length], rtol=0, atol=1e-5)
        assert cut.finish is (Finish.stop if at else Finish.length)
        finishes.add(cut.finish)
    assert finishes == {Finish.stop, Finish.length}
    assert {g.finish for g in endless} == {Finish.length}


def test_frequencies_of_the_first_token_match_the_model(engine, folder):
    prompt, draws = PROMPTS[2], 4000
    asked = [Request(prompt, seed) for seed in range(draws)]
    tokens = [g.tokens_R.item() for g in engine.generate(asked, sampling(tokens=1))]
    with torch.inference_mode():
        logits = reference(folder)(torch.tensor([prompt])).logits[0, -1].double()
    expected = draws * torch.softmax(logits, -1)
    counts = torch.bincount(torch.tensor(tokens), minlength=VOCABULARY)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 144  # 95 degrees of freedom: exceeded once in a thousand


def test_each_distinct_prompt_runs_through_the_model_once(engine, monkeypatch):
    rows = []
    forward = engine._model.model.forward
    monkeypatch.setattr(
        engine._model.model,
        "forward",
        lambda *tokens, **rest: (
            rows.append(tokens or rest["input_ids"]) or forward(*tokens, **rest)
        ),
    )
    engine.generate(requests(samples=5), sampling(tokens=3))
    shapes = [tuple(r.shape) for r in rows]
    assert shapes == [(4, 7), (20, 1), (20, 1)]


def test_rows_that_ended_leave_the_batch(engine, monkeypatch):
    rows = []
    forward = engine._model.model.forward
    monkeypatch.setattr(
        engine._model.model,
        "forward",
        lambda *tokens, **rest: rows.append(len(rest["input_ids"])) or forward(*tokens, **rest),
    )
    engine.generate(requests(samples=8), sampling(tokens=20, stops=range(0, VOCABULARY, 4)))
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert rows[-1] < rows[1]


def test_nothing_asked_nothing_generated(engine):
    assert engine.generate([], sampling()) == []


def test_prompts_that_do_not_fit_are_refused(engine):
    with pytest.raises(ValueError, match="without tokens"):
        engine.generate([Request((), 0)], sampling())
    with pytest.raises(ValueError, match="exceed the model's 64 positions"):
        engine.generate([Request((1,) * 60, 0)], sampling())
    assert engine.generate([Request((1,) * 54, 0)], sampling())


# Weights


def test_new_weights_are_the_ones_that_generate(folder, tmp_path):
    engine = LocalEngine(folder, 128)
    before = engine.generate(requests(), sampling())
    new = tiny_weights("llama", seed=1)
    halves = [dict(list(new.items())[:7]), dict(list(new.items())[7:])]
    engine.load_weights([save(halves[0]), b"", save(halves[1])])
    after = engine.generate(requests(), sampling())
    fresh = LocalEngine(str(write_tiny_model(tmp_path / "new", "llama", seed=1)), 128)
    for old, loaded, expected in zip(
        before, after, fresh.generate(requests(), sampling()), strict=True
    ):
        assert torch.equal(loaded.tokens_R, expected.tokens_R)
        assert torch.equal(loaded.log_probs_R, expected.log_probs_R)
        assert not torch.equal(loaded.log_probs_R, old.log_probs_R)


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
def test_tied_embeddings_and_experts_follow_the_new_weights(family, tmp_path):
    engine = LocalEngine(str(write_tiny_model(tmp_path / "old", family)), 128)
    fresh = LocalEngine(str(write_tiny_model(tmp_path / "new", family, seed=1)), 128)
    engine.load_weights([save(tiny_weights(family, seed=1))])
    for one, other in zip(
        engine.generate(requests(), sampling()), fresh.generate(requests(), sampling()), strict=True
    ):
        assert torch.equal(one.log_probs_R, other.log_probs_R)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("model.norm.weight"), r"lack 1 parameters, model\.norm\.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "hold extra, which the model does not have"),
        (lambda w: w.update({"model.norm.weight": torch.zeros(3)}), r"shape \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(engine, change, said):
    before = {name: p.clone() for name, p in engine._model.named_parameters()}
    weights = tiny_weights("llama", seed=2)
    change(weights)
    with pytest.raises(ValueError, match=said):
        engine.load_weights([save(weights)])
    assert all(torch.equal(before[name], p) for name, p in engine._model.named_parameters())


def test_a_parameter_in_two_shards_is_an_error(engine):
    weights = tiny_weights("llama")
    one = {"model.norm.weight": weights["model.norm.weight"]}
    with pytest.raises(ValueError, match=r"model\.norm\.weight twice"):
        engine.load_weights([save(weights), save(one)])


def test_broken_weights_are_an_error_not_nonsense(folder):
    engine = LocalEngine(folder, 128)
    weights = tiny_weights("llama")
    weights["model.norm.weight"][0] = torch.nan
    engine.load_weights([save(weights)])
    for top_p in (1.0, 0.9):
        with pytest.raises(FloatingPointError, match="not finite"):
            engine.generate(requests(), sampling(top_p=top_p))


def test_logits_are_those_of_a_full_forward_pass(engine, folder):
    tokens = [3, 1, 4, 1, 5]
    [found] = engine.logits([tokens], Precision.float32)
    expected = reference(folder)(torch.tensor([tokens])).logits[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_logits_in_float32_are_those_of_the_weights_it_has_which_stay(folder):
    from transformers import AutoModelForCausalLM

    rounded, tokens = LocalEngine(folder, 1, Precision.bfloat16), [3, 1, 4, 1, 5]
    before = {name: p.data_ptr() for name, p in rounded._model.named_parameters()}
    [found] = rounded.logits([tokens], Precision.float32)
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float()
    expected = expected(torch.tensor([tokens])).logits[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert {name: p.data_ptr() for name, p in rounded._model.named_parameters()} == before
    assert rounded._model.dtype == torch.bfloat16


# The process


def test_the_engine_refuses_a_process_with_an_altered_torch(folder, monkeypatch):
    original = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda *args, **rest: original(*args, **rest))
    with pytest.raises(RuntimeError, match="process of its own"):
        LocalEngine(folder, 128)


def test_the_engine_refuses_a_process_in_which_megatron_runs_on_the_cpu(folder, monkeypatch):
    stand_in = SimpleNamespace(torch=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "megatron.core.parallel_state", stand_in)
    with pytest.raises(RuntimeError, match="process of its own"):
        LocalEngine(folder, 128)
