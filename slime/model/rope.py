"""Rotary positions that were stretched for longer sequences, as config.json describes them.

Standard library only; `slime.megatron.rotary` computes with what is read here.
"""

import math
from dataclasses import dataclass
from typing import Any

from slime.model.config_json import ConfigJson

# What transformers assumes where these are not written down.
_THETA = 10_000.0
_BETA_FAST, _BETA_SLOW = 32.0, 1.0


@dataclass(frozen=True, slots=True)
class LinearRope:
    """Every position divided by `factor`."""

    factor: float


@dataclass(frozen=True, slots=True)
class Llama3Rope:
    """Llama 3.1 and later: slow rotations divided by `factor`, fast ones left, a ramp between."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class YarnRope:
    """YaRN, arXiv:2309.00071; queries and keys are also multiplied by `attention_factor`."""

    factor: float
    original_positions: int
    beta_fast: float
    beta_slow: float
    attention_factor: float
    truncate: bool


RopeScaling = LinearRope | Llama3Rope | YarnRope


def read_rope(config: ConfigJson, max_positions: int) -> tuple[float, RopeScaling | None]:
    """-> the base of the rotary frequencies, and how they are scaled

    transformers 5 writes rope_parameters; older files rope_theta and rope_scaling.
    Raises ConfigError naming rope_type or the field that is missing or wrong.
    """
    found = _written(config)
    factors = (found.get("partial_rotary_factor", 1), config.values.get("partial_rotary_factor"))
    if factors[0] != 1 or factors[1] not in (None, 1):
        raise config.error("partial_rotary_factor is not supported, only 1.0")
    theta = config.positive(
        "rope_theta", found.get("rope_theta", config.values.get("rope_theta", _THETA))
    )
    scaling = _RopeFields(config, found, max_positions).scaling()
    if isinstance(scaling, YarnRope) and theta <= 1:
        raise config.error(f"rope_theta={theta:g} must be above 1 where rope_type is yarn")
    return theta, scaling


def _written(config: ConfigJson) -> dict[str, Any]:
    """rope_scaling or rope_parameters; in transformers, too, one that is empty does not count."""
    found: dict[str, Any] = {}
    for field in ("rope_parameters", "rope_scaling"):
        value = config.values.get(field)
        if value is not None and not isinstance(value, dict):
            raise config.wrong(field, "an object", value)
        found = value or found
    for field, value in found.items():
        if isinstance(value, dict) or field.endswith("_attention"):
            raise config.error(
                f"rope_parameters[{field!r:.60}] is for some of the layers: positions that differ "
                f"from layer to layer are not supported"
            )
    return found


def rope_parameters(theta: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """The same as transformers writes it into config.json."""
    values: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    match scaling:
        case None:
            return values
        case LinearRope(factor):
            return values | {"rope_type": "linear", "factor": factor}
        case Llama3Rope(factor, low, high, original):
            return values | {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
        case YarnRope():
            return values | {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_positions,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "attention_factor": scaling.attention_factor,
                "truncate": scaling.truncate,
            }


class _RopeFields:
    """The fields of rope_parameters, under that name in errors."""

    def __init__(self, config: ConfigJson, values: dict[str, Any], max_positions: int) -> None:
        self._config = config
        self._values = values
        self._max_positions = max_positions

    def scaling(self) -> RopeScaling | None:
        kind = self._values.get("rope_type", self._values.get("type", "default"))
        match kind:
            case "default":
                return None
            case "linear":
                return LinearRope(self._number("factor"))
            case "llama3":
                return self._llama3()
            case "yarn":
                return self._yarn()
        raise self._config.error(
            f"rope_type is {kind!r:.60}, which is not supported; supported are default, linear, "
            f"llama3, yarn"
        )

    def _llama3(self) -> Llama3Rope:
        low, high = self._number("low_freq_factor"), self._number("high_freq_factor")
        if high <= low:
            raise self._config.error(
                f"rope_parameters.high_freq_factor={high:g} must be above low_freq_factor={low:g}"
            )
        return Llama3Rope(self._number("factor"), low, high, self._original_positions())

    def _yarn(self) -> YarnRope:
        original = self._original_positions()
        # transformers takes null for it, but wants it written down.
        is_null = self._values.get("factor", 1) is None
        factor = self._max_positions / original if is_null else self._number("factor")
        return YarnRope(
            factor=factor,
            original_positions=original,
            beta_fast=self._number("beta_fast", _BETA_FAST),
            beta_slow=self._number("beta_slow", _BETA_SLOW),
            attention_factor=self._attention_factor(factor),
            truncate=self._truncate(),
        )

    def _truncate(self) -> bool:
        """null is false: what is absent is true."""
        value = self._values.get("truncate", True)
        if value is not None and not isinstance(value, bool):
            raise self._config.wrong("rope_parameters.truncate", "true or false", value)
        return bool(value)

    def _attention_factor(self, factor: float) -> float:
        """What is written down, or what the paper recommends (section 3.4); the two mscale fields
        are a quotient of such recommendations."""
        if self._values.get("attention_factor") is not None:
            return self._number("attention_factor")
        numerator, denominator = self._values.get("mscale"), self._values.get("mscale_all_dim")
        if not (numerator and denominator):
            return _recommended(factor, 1.0)
        return _recommended(factor, self._number("mscale")) / _recommended(
            factor, self._number("mscale_all_dim")
        )

    def _original_positions(self) -> int:
        field = "original_max_position_embeddings"
        value = self._values.get(field, self._max_positions)
        value = self._config.values.get(field, value)
        return self._config.integer(f"rope_parameters.{field}", value)

    def _number(self, field: str, default: float | None = None) -> float:
        value = self._values.get(field)
        value = default if value is None else value
        return self._config.positive(f"rope_parameters.{field}", value)


def _recommended(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0
