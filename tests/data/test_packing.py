from dataclasses import replace

import pytest
import torch
from data.train_samples import lengths, train_sample
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import Layout, ParallelConfig
from slime.data.packing import Padding, build_padding, pack

UNPADDED = Padding(1, to_longest=False)


def batches(**keys):
    return st.lists(lengths(), min_size=1, max_size=6).map(
        lambda sizes: [
            train_sample(
                prompt, response, rollout_id=i, weight=i / 7, auxiliary_weight=i / 3, **keys
            )
            for i, (prompt, response) in enumerate(sizes)
        ]
    )


@given(batches())
def test_every_response_token_is_predicted_from_the_token_before_it_in_its_own_sample(samples):
    packed = pack(samples, UNPADDED)
    whole = [
        torch.cat([s.sample.prompt_tokens_P, s.sample.response_tokens_R]).tolist() for s in samples
    ]
    before = {
        (sample[i - 1], sample[i]) for sample in whole for i in range(1, len(sample))
    }  # tokens are unique in these samples
    positions, targets = packed.response_positions_R, packed.targets_R
    pairs = zip(packed.tokens_T[positions].tolist(), targets.tolist(), strict=True)
    assert all(pair in before for pair in pairs)
    assert targets.tolist() == [t for s in samples for t in s.sample.response_tokens_R.tolist()]


@given(batches())
def test_a_samples_input_is_its_tokens_without_the_last_and_nothing_stands_between(samples):
    packed = pack(samples, UNPADDED)
    bounds = packed.cu_seqlens.tolist()
    assert packed.cu_seqlens.dtype == torch.int32
    assert bounds[0] == 0
    assert bounds[-1] == len(packed.tokens_T)
    lengths_of_inputs = []
    for sample, start, end in zip(samples, bounds, bounds[1:], strict=False):
        whole = torch.cat([sample.sample.prompt_tokens_P, sample.sample.response_tokens_R])
        expected = whole[:-1] if len(whole) > 1 else whole
        assert packed.tokens_T[start:end].tolist() == expected.tolist()
        lengths_of_inputs.append(end - start)
    assert min(lengths_of_inputs) > 0


@given(batches(old=True, reference=True))
def test_what_belongs_to_a_response_token_stays_with_it(samples):
    packed = pack(samples, UNPADDED)

    def split(values_R):
        return [part.tolist() for part in values_R.split(list(packed.response_lengths))]

    def per_token(weight):
        return [[weight(s)] * len(s.sample.response_tokens_R) for s in samples]

    assert split(packed.mask_R) == [s.sample.loss_mask_R.tolist() for s in samples]
    assert split(packed.advantages_R) == [s.advantages_R.tolist() for s in samples]
    assert split(packed.rollout_log_probs_R) == [
        s.sample.rollout_log_probs_R.tolist() for s in samples
    ]
    assert split(packed.old_log_probs_R) == [s.old_log_probs_R.tolist() for s in samples]
    assert split(packed.reference_log_probs_R) == [
        s.reference_log_probs_R.tolist() for s in samples
    ]
    for got, expected in (
        (packed.weights_R, per_token(lambda s: s.weight)),
        (packed.auxiliary_weights_R, per_token(lambda s: s.auxiliary_weight)),
    ):
        assert got.dtype == torch.float32
        for got_R, expected_R in zip(split(got), expected, strict=True):
            assert got_R == pytest.approx(expected_R, rel=1e-7)


def test_old_and_reference_log_probs_may_be_absent():
    packed = pack([train_sample(2, 3), train_sample(1, 4)], UNPADDED)
    assert packed.old_log_probs_R is None
    assert packed.reference_log_probs_R is None


@pytest.mark.parametrize("kind", ["old", "reference"])
def test_log_probs_that_only_some_samples_have_are_an_error(kind):
    with pytest.raises(ValueError, match=f"1 of 2 samples of a micro-batch have no {kind}"):
        pack([train_sample(2, 3, **{kind: True}), train_sample(1, 4)], UNPADDED)


@pytest.mark.parametrize(
    "name", ["advantages_R", "old_log_probs_R", "loss_mask_R", "rollout_log_probs_R"]
)
def test_a_tensor_that_does_not_match_the_response_is_an_error_that_names_it(name):
    sample = train_sample(2, 3, rollout_id=8)
    if name in ("advantages_R", "old_log_probs_R"):
        sample = replace(sample, **{name: torch.zeros(4)})
    else:
        sample = replace(sample, sample=replace(sample.sample, **{name: torch.zeros(4)}))
    with pytest.raises(ValueError, match=rf"{name} of a sample of rollout 8 has shape \(4,\)"):
        pack([train_sample(2, 3), sample], UNPADDED)


def test_a_sample_without_a_prompt_token_is_an_error():
    with pytest.raises(ValueError, match="rollout 3 has no prompt token"):
        pack([train_sample(0, 3, rollout_id=3)], UNPADDED)


def test_a_micro_batch_without_samples_is_an_error():
    with pytest.raises(ValueError, match="at least one sample"):
        pack([], UNPADDED)


def test_a_packed_batch_moves_to_a_device_as_a_whole():
    moved = pack([train_sample(2, 3, old=True)], UNPADDED).to("meta")
    tensors = [getattr(moved, name) for name in moved.__slots__]
    devices = {t.device.type for t in tensors if isinstance(t, torch.Tensor)}
    assert devices == {"meta"}
    assert moved.response_lengths == (3,)


# ---- padding ----

paddings = st.builds(Padding, st.integers(1, 8), to_longest=st.booleans())


@given(batches(), paddings)
def test_padding_stands_to_the_right_of_every_sequence_and_fits_the_layout(samples, padding):
    plain, padded = pack(samples, UNPADDED), pack(samples, padding)
    lengths_S = padded.cu_seqlens.diff().tolist()
    assert all(length % padding.multiple == 0 for length in lengths_S)
    assert len(set(lengths_S)) == 1 or not padding.to_longest
    assert len(padded.tokens_T) == sum(lengths_S)
    for s in range(len(samples)):
        real = plain.tokens_T[plain.cu_seqlens[s] : plain.cu_seqlens[s + 1]].tolist()
        own = padded.tokens_T[padded.cu_seqlens[s] : padded.cu_seqlens[s + 1]].tolist()
        assert own == real + [0] * (len(own) - len(real))
        if not padding.to_longest:
            assert len(own) - len(real) < padding.multiple


@given(batches(old=True, reference=True), paddings)
def test_padding_changes_nothing_that_a_loss_reads(samples, padding):
    plain, padded = pack(samples, UNPADDED), pack(samples, padding)
    for name in plain.__slots__:
        before, after = getattr(plain, name), getattr(padded, name)
        if name.endswith("_R") and name != "response_positions_R":
            assert before.tolist() == after.tolist()
    predicting = [b.tokens_T[b.response_positions_R].tolist() for b in (plain, padded)]
    assert predicting[0] == predicting[1]


@given(batches())
def test_every_response_token_names_its_sample_and_its_row(samples):
    packed = pack(samples, UNPADDED)
    assert packed.response_rows_R.tolist() == list(range(len(packed.targets_R)))
    counts = torch.bincount(packed.samples_R, minlength=len(samples)).tolist()
    assert counts == list(packed.response_lengths)
    assert packed.samples_R.tolist() == sorted(packed.samples_R.tolist())
    assert packed.active_tokens_S.tolist() == [s.sample.active_tokens for s in samples]


@pytest.mark.parametrize(
    ("config", "padding"),
    [
        (ParallelConfig(), UNPADDED),
        (ParallelConfig(data=4, pipeline=2), UNPADDED),
        (ParallelConfig(context=2), Padding(4, to_longest=False)),
        (ParallelConfig(tensor=3), Padding(3, to_longest=False)),
        (ParallelConfig(tensor=3, sequence=False), UNPADDED),
        (
            ParallelConfig(tensor=2, context=4, layout=Layout.bshd),
            Padding(16, to_longest=True),
        ),
    ],
)
def test_a_layout_pads_to_its_chunks_and_shares(config, padding):
    assert build_padding(config) == padding
