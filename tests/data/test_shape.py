import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slime.data import StepShape


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=8),
    st.sampled_from([torch.int32, torch.int64]),
)
def test_a_rollout_belongs_to_one_prompt(pairs, dtype):
    ids = torch.tensor(pairs, dtype=dtype).reshape(-1, 2)
    torn = {a for a, b in pairs for c, d in pairs if a == c and b != d}
    if not torn:
        StepShape(torch.ones(len(pairs), dtype=dtype), ids[:, 0], ids[:, 1])
        return
    with pytest.raises(ValueError, match="has samples of more than one prompt") as error:
        StepShape(torch.ones(len(pairs), dtype=dtype), ids[:, 0], ids[:, 1])
    assert int(str(error.value).split()[1]) in torn


@pytest.mark.parametrize(
    ("active_tokens", "rollout_ids", "message"),
    [
        ([[1, 2]], [[1, 2]], "active_tokens must be one-dimensional"),
        ([1, 2], [1], r"rollout_ids has shape \(1,\), expected \(2,\)"),
        ([1, 2], [1.0, 2.0], "rollout_ids must hold integers, got torch.float32"),
        ([True, False], [1, 2], "active_tokens must hold integers, got torch.bool"),
        ([1, -2], [1, 2], "active_tokens must not be negative"),
    ],
)
def test_a_shape_that_cannot_be_is_an_error(active_tokens, rollout_ids, message):
    with pytest.raises(ValueError, match=message):
        StepShape(torch.tensor(active_tokens), torch.tensor(rollout_ids))
