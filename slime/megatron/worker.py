"""One train worker: a rank of the trainer, without Ray.

It owns its process: the default process group, megatron's parallel state and, where there is no
CUDA, the device layer.  After close() another worker may be made in the same process.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from socket import socket

import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from torch import Tensor

from slime.config.schema import ParallelConfig, Precision
from slime.data import TrainSample
from slime.data.metrics import StepGradient, StepMetrics
from slime.data.packing import PackedBatch, build_padding, pack
from slime.distributed.context import part_of_rank
from slime.distributed.groups import (
    context_parallel,
    dissolve_groups,
    expert_copies,
    expert_parallel,
    form_groups,
    pipeline_parallel,
    step_parallel,
    tensor_parallel,
)
from slime.distributed.rendezvous import Rendezvous, meet, part
from slime.loss import LossOutput, MetricSums, build_loss
from slime.megatron import device_layer
from slime.megatron.checkpoint import Checkpoint, load_checkpoint
from slime.megatron.convert import load_folder
from slime.megatron.gradients import gather_gradients, gradient_of
from slime.megatron.layers import runs_on_transformer_engine
from slime.megatron.memory import enough_memory
from slime.megatron.metrics import step_metrics
from slime.megatron.model import LanguageModel, build_model, in_precision
from slime.megatron.optimizer import build_optimizer
from slime.megatron.passes import (
    accumulate_gradients,
    build_forward,
    read_hidden_states,
    to_predict,
)
from slime.megatron.policy import Policy
from slime.megatron.share import ExportedShare
from slime.megatron.spec import TrainWorkerSpec
from slime.model.architecture import read_architecture
from slime.model.precision import dtype_of

__all__ = ["Rendezvous", "TrainWorker", "TrainWorkerSpec"]


class TrainWorker:
    """One per process.  All ranks of a run make the same calls in the same order.

    The ranks of one data-parallel share get the same samples.  Results are on every rank, but
    log-probs, gradients and weights only where their docstrings say.

    Raises ConfigError when the model folder does not hold what its config.json says or the port
    cannot be had, and RendezvousError when the workers cannot meet.  A step or a log-prob pass that
    does not fit into memory is a ConfigError too.
    """

    def __init__(
        self, spec: TrainWorkerSpec, rendezvous: Rendezvous, listener: socket | None = None
    ) -> None:
        """listener: rank 0's, where it has one already; the others find it there."""
        if spec.parallel.workers != rendezvous.world_size:
            raise ValueError(
                f"parallel asks for {spec.parallel.workers} workers, but "
                f"{rendezvous.world_size} meet"
            )
        self._parallel = spec.parallel
        self._loss = build_loss(spec.loss)
        self._padding = build_padding(spec.parallel)
        self._forward = build_forward(spec.parallel.layout)

        device_layer.install()
        torch.manual_seed(spec.seed)
        self._device = meet(rendezvous, listener)
        try:
            form_groups(spec.parallel, spec.seed)
            self._step_parallel, self._pipeline = step_parallel(), pipeline_parallel()
            self._tensor_parallel, self._context_parallel = tensor_parallel(), context_parallel()
            self._expert_parallel = expert_parallel()
            self._policy = Policy(spec.temperature, self._tensor_parallel, self._context_parallel)
            self._model = self._loaded(spec)
            self._share = ExportedShare(self._model, rendezvous.rank)
            self._reference = None
            if self._loss.needs_reference:
                self._reference = self._loaded(spec).requires_grad_(False)
            self._trained = _data_parallel_model(self._model, spec.parallel)
            self._optimizer = build_optimizer(
                spec.optimizer, self._trained, dtype_of(spec.parallel.precision), spec.total_steps
            )
        except BaseException:
            self.close()
            raise

    def train(self, micro_batches: Sequence[Sequence[TrainSample]]) -> StepMetrics:
        """One optimizer step on this rank's share, at least one micro-batch, of the step.

        The old log-probs are those in the samples, or the current ones where there are none.  When
        the loss or the gradient is nan or inf on any rank, no rank changes anything but the
        gradients, which are cleared, and the metrics say skipped.
        """
        metrics = self._accumulate(micro_batches)
        if metrics.skipped:
            self._optimizer.clear_gradients()
        else:
            assert metrics.grad_norm is not None
            self._optimizer.step(metrics.grad_norm)
        return metrics

    def gradient(self, micro_batches: Sequence[Sequence[TrainSample]]) -> StepGradient:
        """What train would report, and the gradient it would step with; nothing is changed.

        The gradient is on one rank of each pipeline stage, that of experts on the first that have
        them, and () on the others.
        """
        metrics = self._accumulate(micro_batches)
        gather_gradients(self._trained, self._step_parallel, expert_copies())
        shard = self._share.in_memory(gradient_of)
        self._optimizer.clear_gradients()
        return StepGradient(metrics, (shard,) if shard else ())

    def log_probs(self, micro_batches: Sequence[Sequence[TrainSample]]) -> list[Tensor]:
        """Log-probs of the response tokens under the current weights: the step's old log-probs.

        -> per sample, in order, [R] float32 on the CPU; [] on pipeline stages before the last.
        """
        return self._log_probs_under(self._model, micro_batches)

    def reference_log_probs(self, micro_batches: Sequence[Sequence[TrainSample]]) -> list[Tensor]:
        """The same under the frozen starting weights.

        Raises RuntimeError when the loss has no KL term: the weights are not kept then.
        """
        if self._reference is None:
            raise RuntimeError("the loss has no KL term, so no reference model is kept")
        return self._log_probs_under(self._reference, micro_batches)

    @property
    def logits_precision(self) -> Precision:
        """What logits() computes in: float32, where the layers can."""
        dtype = dtype_of(self._parallel.precision)
        on_te = runs_on_transformer_engine(self._device, dtype)
        return Precision.bfloat16 if on_te else Precision.float32

    def logits(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """What follows each token of each sequence, under the current weights.

        -> per sequence, [T, vocabulary] float32 on the CPU; [] on pipeline stages before the last.
        """

        def read(hidden_TH: Tensor, batch: PackedBatch) -> list[Tensor]:
            return self._policy.logits(self._model, hidden_TH, batch)

        batches = self._packed([[to_predict(tokens) for tokens in sequences]])
        with in_precision(self.logits_precision, self._model):
            found = read_hidden_states(self._model, batches, self._forward, read)
        return [logits_TV for one in found for logits_TV in one]

    def export_weights(self) -> bytes:
        """The weights as a safetensors file under Hugging Face names, in the parameters' dtype.

        Those of this rank's pipeline stage, or of this rank's experts where experts are parallel;
        b"" on the ranks whose weights another rank exports.
        """
        return self._share.in_memory(Tensor.detach)

    def save_weights(self, folder: Path) -> str | None:
        """Write what export_weights() gives to a file in `folder`, a tensor at a time.

        -> its name; in their order they are in that of the ranks.  None where there is nothing.
        Raises OSError when the disk does not take it.
        """
        return self._share.on_disk(folder)

    def begin_checkpoint(self, folder: Path) -> None:
        """Copy what determines the future of this rank; it is written to `folder` meanwhile.

        The folder is empty, and the same for all ranks, on a file system that they share.
        """
        self._checkpoint = Checkpoint(self._model, self._optimizer, folder)

    def has_written_checkpoint(self) -> bool:
        """Whether this rank has written its part of the checkpoint that was begun."""
        return self._checkpoint.is_written

    def finish_checkpoint(self) -> Path:
        """Wait until every rank has written.  -> the file of this one's own

        Raises OSError, on all of them, if one could not.
        """
        return self._checkpoint.finish()

    def load_checkpoint(self, folder: Path) -> None:
        """Go on from what workers of any layout have written to `folder`.

        Raises ConfigError for a checkpoint of another model.
        """
        load_checkpoint(self._model, self._optimizer, folder)

    def close(self) -> None:
        """Leave the other workers; the worker is of no further use."""
        dissolve_groups()
        part()

    def _loaded(self, spec: TrainWorkerSpec) -> LanguageModel:
        folder = Path(spec.model_folder)
        dtype = dtype_of(spec.parallel.precision)
        model = build_model(read_architecture(folder), dtype, self._device, spec.parallel)
        load_folder(model, folder)
        return model

    def _accumulate(self, micro_batches: Sequence[Sequence[TrainSample]]) -> StepMetrics:
        """Gradients of the step into their buffers.  -> what is to be reported"""
        self._optimizer.clear_gradients()
        with enough_memory(self._parallel):
            sums = accumulate_gradients(
                self._trained,
                self._packed(micro_batches),
                self._forward,
                self._loss_of,
                self._step_parallel.size,
            )
        totals = self._totals(sums)
        grad_norm = self._optimizer.gradient_norm()
        skipped = not (math.isfinite(totals.loss.item()) and math.isfinite(grad_norm))
        return step_metrics(totals, grad_norm, self._optimizer.learning_rate, skipped=skipped)

    def _totals(self, sums: Sequence[MetricSums]) -> MetricSums:
        """Of all ranks, from those of this rank's micro-batches; none before the last stage."""
        mine = MetricSums.zeros().vector().to(self._device)
        for metrics in sums:
            mine += metrics.vector()
        of_stage = self._step_parallel.sum(mine)
        return MetricSums.from_vector(self._pipeline.from_last(of_stage))

    def _packed(self, micro_batches: Sequence[Sequence[TrainSample]]) -> list[PackedBatch]:
        group = self._context_parallel
        whole = [pack(samples, self._padding) for samples in micro_batches]
        return [part_of_rank(batch, group.rank, group.size).to(self._device) for batch in whole]

    def _loss_of(self, hidden_TH: Tensor, batch: PackedBatch) -> LossOutput:
        log_probs_R, entropy_R = self._policy.log_probs_and_entropy(
            self._model, hidden_TH, batch, entropy_gradient=self._loss.needs_entropy_gradient
        )
        return self._loss(self._policy.terms(log_probs_R, entropy_R, batch))

    def _log_probs_under(
        self, model: LanguageModel, micro_batches: Sequence[Sequence[TrainSample]]
    ) -> list[Tensor]:
        def read(hidden_TH: Tensor, batch: PackedBatch) -> list[Tensor]:
            log_probs_R, _ = self._policy.log_probs_and_entropy(
                model, hidden_TH, batch, entropy_gradient=False
            )
            return self._policy.whole_responses(log_probs_R, batch)

        with enough_memory(self._parallel):
            packed = self._packed(micro_batches)
            read_batches = read_hidden_states(model, packed, self._forward, read)
        return [log_probs_R for samples in read_batches for log_probs_R in samples]


def _data_parallel_model(model: LanguageModel, parallel: ParallelConfig) -> DistributedDataParallel:
    """Gradients are accumulated and reduced in float32, whatever the parameters are."""
    model.config.finalize_model_grads_func = finalize_model_grads
    config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True, use_distributed_optimizer=parallel.distributed_optimizer
    )
    return DistributedDataParallel(model.config, config, model)
