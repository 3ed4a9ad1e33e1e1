"""What a train worker is built from.  Imports neither torch nor megatron."""

from dataclasses import dataclass

from slime.config.schema import LossConfig, OptimizerConfig, ParallelConfig


@dataclass(frozen=True, slots=True)
class TrainWorkerSpec:
    """The same for every worker of a run."""

    model_folder: str  # Hugging Face folder of the starting weights
    loss: LossConfig
    optimizer: OptimizerConfig
    parallel: ParallelConfig
    temperature: float  # of the sampling distribution
    total_steps: int  # optimizer steps of the run
    seed: int
