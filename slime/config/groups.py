"""The config groups: which node each one fills, and what its choices are.

The one table behind registration, error messages and `--help`.
"""

import dataclasses
from dataclasses import dataclass

from slime.config.schema import (
    CISPO,
    GSPO,
    K1,
    K2,
    K3,
    PPO,
    SFT,
    TIS,
    AdamConfig,
    ArithmeticTask,
    CheckConfig,
    CheckpointConfig,
    ClusterConfig,
    ConstantAdvantage,
    ConstantLoss,
    CorrectionConfig,
    CustomLoss,
    Demonstrations,
    DrGrpoAdvantage,
    DynamicFilter,
    ExactMatchReward,
    FilterConfig,
    FirstNumberReward,
    FunctionReward,
    GrpoAdvantage,
    IcePop,
    JsonlTask,
    KLConfig,
    LastNumberReward,
    LocalEngine,
    MlflowTracking,
    Node,
    NoTracking,
    OverlongConfig,
    ParallelConfig,
    PathModel,
    PromptMeanLoss,
    Qwen3Medium,
    Qwen3Mixture,
    Qwen3Small,
    Qwen25Small,
    Reinforce,
    ReinforcePlusPlusAdvantage,
    ReinforcePlusPlusBaselineAdvantage,
    ReplayEngine,
    RlooAdvantage,
    RolloutConfig,
    SampleMeanLoss,
    SmolLM2Model,
    SoftOverlong,
    TensorBoardTracking,
    TinyModel,
    TinyMoeModel,
    TokenMeanLoss,
    WandbTracking,
    ZeroVarianceFilter,
)

RECIPE = "recipe"  # a group too, but its choices are files under recipes/ and it fills every node


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a group: the class it gives to the node."""

    name: str
    schema: type[Node]
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    """What `name=choice` selects: the class, and so the keys, of the node at `node`."""

    name: str
    node: str
    meaning: str
    choices: tuple[Choice, ...]
    label: str | None = None  # the key in which the class writes its choice, never set by hand

    @property
    def options(self) -> list[str]:
        return [choice.name for choice in self.choices]

    def owners(self, key: str) -> list[str]:
        """The choices that have this key."""
        return [choice.name for choice in self.choices if key in field_names(choice.schema)]


def field_names(schema: type[Node]) -> set[str]:
    return {field.name for field in dataclasses.fields(schema)}  # type: ignore[arg-type]


def _group(
    name: str,
    meaning: str,
    *choices: tuple[str, type[Node]] | tuple[str, type[Node], str],
    node: str | None = None,
    label: str | None = "name",
) -> Group:
    node = name.replace("/", ".") if node is None else node
    return Group(name, node, meaning, tuple(_choice(*choice) for choice in choices), label)


def _choice(name: str, schema: type[Node], meaning: str = "") -> Choice:
    return Choice(name, schema, meaning or (schema.__doc__ or "").splitlines()[0])


GROUPS = (
    _group(
        "model",
        "where the starting weights come from",
        ("tiny", TinyModel),
        ("tiny_moe", TinyMoeModel),
        ("smollm2_135m", SmolLM2Model),
        ("qwen2_5_0_5b", Qwen25Small),
        ("qwen3_0_6b", Qwen3Small),
        ("qwen3_4b", Qwen3Medium),
        ("qwen3_30b_a3b", Qwen3Mixture),
        ("path", PathModel),
    ),
    _group(
        "task",
        "where prompts and answers come from",
        ("arithmetic", ArithmeticTask),
        ("jsonl", JsonlTask),
    ),
    _group(
        "reward",
        "how a finished rollout is scored",
        ("first_number", FirstNumberReward),
        ("last_number", LastNumberReward),
        ("exact_match", ExactMatchReward),
        ("function", FunctionReward),
    ),
    _group(
        "reward/overlong",
        "what a response loses for being nearly as long as it may be",
        ("none", OverlongConfig),
        ("soft", SoftOverlong),
    ),
    _group("rollout", "how one iteration samples", ("default", RolloutConfig), label=None),
    _group(
        "rollout/engine",
        "what generates",
        ("local", LocalEngine),
        ("replay", ReplayEngine),
        ("demonstrations", Demonstrations),
    ),
    _group(
        "rollout/filter",
        "which of the generated groups are trained on",
        ("none", FilterConfig),
        ("zero_variance", ZeroVarianceFilter),
        ("dynamic", DynamicFilter),
    ),
    _group(
        "advantage",
        "how rewards become advantages",
        ("grpo", GrpoAdvantage),
        ("dr_grpo", DrGrpoAdvantage),
        ("rloo", RlooAdvantage),
        ("reinforce_plus_plus", ReinforcePlusPlusAdvantage),
        ("reinforce_plus_plus_baseline", ReinforcePlusPlusBaselineAdvantage),
        ("constant", ConstantAdvantage),
    ),
    _group(
        "loss/aggregation",
        "how the loss averages over tokens, samples and prompts",
        ("sample_mean", SampleMeanLoss),
        ("prompt_mean", PromptMeanLoss),
        ("token_mean", TokenMeanLoss),
        ("constant", ConstantLoss),
        ("dr_grpo", ConstantLoss, "constant with divisor = rollout.max_response_tokens (Dr.GRPO)."),
        ("custom", CustomLoss),
        node="loss",
        label="aggregation",
    ),
    _group(
        "loss/objective",
        "the policy-gradient term of one token",
        ("ppo", PPO),
        ("gspo", GSPO),
        ("cispo", CISPO),
        ("reinforce", Reinforce),
        ("sft", SFT),
    ),
    _group(
        "loss/kl",
        "a penalty for leaving the starting model",
        ("none", KLConfig),
        ("k1", K1),
        ("k2", K2),
        ("k3", K3),
    ),
    _group(
        "loss/correction",
        "what is done where rollout engine and trainer disagree about a token",
        ("none", CorrectionConfig),
        ("tis", TIS),
        ("icepop", IcePop),
    ),
    _group("optimizer", "how gradients become updates", ("adam", AdamConfig)),
    _group(
        "parallel",
        "how a step is laid out over workers",
        ("default", ParallelConfig),
        label=None,
    ),
    _group(
        "cluster",
        "where the workers run",
        ("local", ClusterConfig, "A private Ray on this machine."),
        ("existing", ClusterConfig, "The Ray cluster this machine belongs to (address: auto)."),
        label=None,
    ),
    _group(
        "checkpoint",
        "when a run is saved, and where it goes on from",
        ("default", CheckpointConfig),
        label=None,
    ),
    _group(
        "tracking",
        "where metrics go beside metrics.jsonl",
        ("tensorboard", TensorBoardTracking),
        ("wandb", WandbTracking),
        ("mlflow", MlflowTracking),
        ("none", NoTracking),
    ),
    _group(
        "check",
        "what command=check and command=explain look at",
        ("default", CheckConfig),
        label=None,
    ),
)

BY_NAME = {group.name: group for group in GROUPS}
BY_NODE = {group.node: group for group in GROUPS}
