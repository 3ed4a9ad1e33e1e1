"""Bytes that a forward pass leaves for the backward pass, of one micro-batch on one worker.

Counted term by term from what autograd keeps in slime.megatron's layers, in the way of Korthikanti
et al., "Reducing Activation Recomputation in Large Transformer Models" (arXiv:2205.05198, section
4); nothing is recomputed.  tests/memory/test_activations.py holds the sums against the tensors that
autograd really keeps.  torch's RMSNorm works in float32 on a CPU, whatever the parameters are; the
fused norms of a GPU keep less, so this is a bound there.
"""

from dataclasses import dataclass

from slime.config.schema import Layout, ParallelConfig
from slime.memory.parameters import is_first, is_last, layers_with_experts
from slime.model.architecture import Architecture
from slime.model.experts import Experts

_FLOAT32, _INT64 = 4, 8


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Of one worker: context-parallel workers hold a part each of every sequence."""

    tokens: int  # T, padding between sequences included
    dense_rows: int  # attention runs on S sequences of the longest's length; T if all are equal
    longest: int  # tokens of the longest whole sequence


def activation_bytes(
    model: Architecture,
    parallel: ParallelConfig,
    stage: int,
    batch: MicroBatch,
    element_bytes: int,
) -> int:
    """Of the layers of one pipeline stage, and of what it has before and after them.

    Experts are taken to be evenly used: a worker then gets as many tokens as it sends.
    """
    per_stage = model.layers // parallel.pipeline
    size = _Sizes(model, parallel, batch, element_bytes)
    with_experts = layers_with_experts(model, parallel, stage)
    kept = per_stage * size.around_mlp() + (per_stage - with_experts) * size.mlp()
    if model.experts is not None:
        kept += with_experts * size.mixture(model.experts)
    if is_first(stage):
        kept += _INT64 * batch.tokens
    if is_last(parallel, stage):
        kept += size.norm()
    return kept


@dataclass(frozen=True, slots=True)
class _Sizes:
    model: Architecture
    parallel: ParallelConfig
    batch: MicroBatch
    element: int  # bytes

    def around_mlp(self) -> int:
        """What every layer has: two norms, what goes into the products after them, attention."""
        into_products = 2 * self.element * self.shared_tokens * self.model.hidden_size
        return 2 * self.norm() + into_products + self.attention()

    def mlp(self) -> int:
        """Gate and up in one, the gate alone, its SiLU, and the product of that and up."""
        rows = self.model.feed_forward_size // self.parallel.tensor
        return 5 * self.element * self.batch.tokens * rows

    @property
    def shared_tokens(self) -> int:
        """Sequence parallelism splits the tokens between the products of a layer."""
        shared = self.parallel.sequence and self.parallel.tensor > 1
        return self.batch.tokens // (self.parallel.tensor if shared else 1)

    def norm(self) -> int:
        """An RMSNorm in float32: its input, the normalised input, a number a token."""
        return _FLOAT32 * self.shared_tokens * (2 * self.model.hidden_size + 1)

    def attention(self) -> int:
        model, batch = self.model, self.batch
        heads = model.attention_heads // self.parallel.tensor
        key_heads = model.key_value_heads // self.parallel.tensor
        head = model.head_size
        key_rows = batch.dense_rows * self.parallel.context
        mask = batch.dense_rows * batch.longest if self.parallel.context > 1 else 0
        dense = 2 * batch.dense_rows * heads * head + 2 * key_rows * key_heads * head + mask
        rotary = 4 * batch.tokens * head  # sines and cosines, of queries and of keys
        packed = batch.tokens * heads * head if self.parallel.layout is Layout.thd else 0
        sums = _FLOAT32 * batch.dense_rows * heads
        return self.element * (dense + rotary + packed) + sums + self._query_key_norms()

    def _query_key_norms(self) -> int:
        if not self.model.qk_norm:
            return 0
        head, tensor = self.model.head_size, self.parallel.tensor
        heads, key_heads = (
            self.model.attention_heads // tensor,
            self.model.key_value_heads // tensor,
        )
        normalised = (heads + key_heads) * (head + 1)
        inputs = (heads + key_heads) * head
        if self.element == _FLOAT32:  # in float32 the inputs are views, which keep all of q, k, v
            inputs = (heads + 2 * key_heads) * head + (heads * head if key_heads > 1 else 0)
        return _FLOAT32 * self.batch.tokens * (normalised + inputs)

    def mixture(self, experts: Experts) -> int:
        """A router's scores and choices, then each chosen expert's MLP for each token.

        With tensor parallelism every worker sees the tokens of all, and has a slice of each expert.
        """
        chosen = experts.per_token
        routing = 2 * _FLOAT32 * experts.count + experts.count  # scores twice, and a mask
        routing += (2 * _INT64 + _FLOAT32) * chosen + _FLOAT32  # what was chosen, and its weights
        rows = self.batch.tokens * chosen
        # beside what an MLP keeps: the product times the expert's weight, and that weight
        products = 6 * experts.feed_forward_size // self.parallel.tensor
        each_row = self.model.hidden_size + products + 1
        return routing * self.shared_tokens + self.element * rows * each_row
