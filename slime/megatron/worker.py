"""The train worker: one rank's model, optimizer and share of every step.  A plain class."""

import math
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from torch import Tensor

from slime.data import TrainSample
from slime.data.metrics import StepMetrics
from slime.data.packing import PackedBatch, pack
from slime.distributed.groups import data_parallel, dissolve_groups, form_groups, tensor_parallel
from slime.distributed.rendezvous import Rendezvous, meet, part
from slime.loss import (
    LossOutput,
    MetricSums,
    TokenTerms,
    VocabularyShard,
    build_loss,
    log_probs_and_entropy,
)
from slime.megatron import device_layer
from slime.megatron.convert import export, load_folder
from slime.megatron.metrics import step_metrics
from slime.megatron.model import LanguageModel, build_model
from slime.megatron.optimizer import build_optimizer
from slime.megatron.passes import accumulate_gradients, read_hidden_states
from slime.megatron.spec import TrainWorkerSpec
from slime.model.architecture import Architecture, read_architecture
from slime.model.precision import dtype_of

__all__ = ["Rendezvous", "TrainWorker", "TrainWorkerSpec"]


class TrainWorker:
    """One per process.  All ranks of a run make the same calls in the same order.

    Raises ConfigError when the model folder does not hold what its config.json says or the port
    cannot be had, and RendezvousError when the workers cannot meet.
    """

    def __init__(self, spec: TrainWorkerSpec, rendezvous: Rendezvous) -> None:
        if spec.parallel.data != rendezvous.world_size:
            raise ValueError(
                f"parallel.data={spec.parallel.data}, but {rendezvous.world_size} workers meet"
            )
        folder = Path(spec.model_folder)
        architecture = read_architecture(folder)
        dtype = dtype_of(spec.parallel.precision)
        self._temperature = spec.temperature
        self._loss = build_loss(spec.loss)

        device_layer.install()
        torch.manual_seed(spec.seed)
        self._device = meet(rendezvous)
        try:
            form_groups()
            self._model = self._loaded(architecture, dtype, folder)
            self._reference = None
            if self._loss.needs_reference:
                self._reference = self._loaded(architecture, dtype, folder).requires_grad_(False)
            self._data_parallel, self._tensor_parallel = data_parallel(), tensor_parallel()
            self._trained = _data_parallel_model(self._model)
            self._optimizer = build_optimizer(
                spec.optimizer, self._trained, dtype, spec.total_steps
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
        self._optimizer.clear_gradients()
        sums = accumulate_gradients(
            self._trained,
            self._packed(micro_batches),
            self._loss_of,
            self._data_parallel.size,
        )
        mine = torch.stack([metrics.vector() for metrics in sums]).sum(0)
        totals = MetricSums.from_vector(self._data_parallel.sum(mine))
        grad_norm = self._optimizer.gradient_norm()
        learning_rate = self._optimizer.learning_rate
        skipped = not (math.isfinite(totals.loss.item()) and math.isfinite(grad_norm))
        if skipped:
            self._optimizer.clear_gradients()
        else:
            self._optimizer.step(grad_norm)
        return step_metrics(totals, grad_norm, learning_rate, skipped=skipped)

    def log_probs(self, micro_batches: Sequence[Sequence[TrainSample]]) -> list[Tensor]:
        """Log-probs of the response tokens under the current weights: the step's old log-probs.

        -> per sample, in order, [R] float32 on the CPU.
        """
        return self._log_probs_under(self._model, micro_batches)

    def reference_log_probs(self, micro_batches: Sequence[Sequence[TrainSample]]) -> list[Tensor]:
        """The same under the frozen starting weights.

        Raises RuntimeError when the loss has no KL term: the weights are not kept then.
        """
        if self._reference is None:
            raise RuntimeError("the loss has no KL term, so no reference model is kept")
        return self._log_probs_under(self._reference, micro_batches)

    def export_weights(self) -> bytes:
        """The weights as a safetensors file under Hugging Face names, in the parameters' dtype.

        b"" on the ranks that have nothing to add: those whose weights another rank exports.
        """
        if self._data_parallel.rank > 0:
            return b""
        weights = {name: tensor.contiguous().cpu() for name, tensor in export(self._model)}
        return b"" if self._tensor_parallel.rank > 0 else safetensors.torch.save(weights)

    def close(self) -> None:
        """Leave the other workers; the worker is of no further use."""
        dissolve_groups()
        part()

    def _loaded(
        self, architecture: Architecture, dtype: torch.dtype, folder: Path
    ) -> LanguageModel:
        model = build_model(architecture, dtype, self._device)
        load_folder(model, folder)
        return model

    def _packed(self, micro_batches: Sequence[Sequence[TrainSample]]) -> list[PackedBatch]:
        return [pack(samples).to(self._device) for samples in micro_batches]

    def _loss_of(self, hidden_TH: Tensor, batch: PackedBatch) -> LossOutput:
        log_probs_R, entropy_R = self._log_probs_and_entropy(
            self._model, hidden_TH, batch, entropy_gradient=self._loss.needs_entropy_gradient
        )
        return self._loss(
            TokenTerms(
                log_probs_T=log_probs_R,
                entropy_T=entropy_R,
                rollout_log_probs_T=batch.rollout_log_probs_R,
                advantages_T=batch.advantages_R,
                mask_T=batch.mask_R,
                weights_T=batch.weights_R,
                auxiliary_weights_T=batch.auxiliary_weights_R,
                old_log_probs_T=batch.old_log_probs_R,
                reference_log_probs_T=batch.reference_log_probs_R,
            )
        )

    def _log_probs_under(
        self, model: LanguageModel, micro_batches: Sequence[Sequence[TrainSample]]
    ) -> list[Tensor]:
        def read(hidden_TH: Tensor, batch: PackedBatch) -> list[Tensor]:
            log_probs_R, _ = self._log_probs_and_entropy(
                model, hidden_TH, batch, entropy_gradient=False
            )
            return list(torch.split(log_probs_R.float().cpu(), list(batch.response_lengths)))

        read_batches = read_hidden_states(model, self._packed(micro_batches), read)
        return [log_probs_R for samples in read_batches for log_probs_R in samples]

    def _log_probs_and_entropy(
        self, model: LanguageModel, hidden_TH: Tensor, batch: PackedBatch, *, entropy_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        weight = model.output_weight
        group = self._tensor_parallel
        return log_probs_and_entropy(
            hidden_TH[batch.response_positions_R],
            weight,
            batch.targets_R,
            temperature=self._temperature,
            shard=VocabularyShard(group.rank * len(weight), group.sum_, group.max_),
            entropy_gradient=entropy_gradient,
        )


def _data_parallel_model(model: LanguageModel) -> DistributedDataParallel:
    """Gradients are accumulated and reduced in float32, whatever the parameters are."""
    model.config.finalize_model_grads_func = finalize_model_grads
    return DistributedDataParallel(
        model.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), model
    )
