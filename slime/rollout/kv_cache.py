"""Keys and values of a batch that grows by one token a step."""

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, with room for those still to come.

    transformers' own growing layer copies all of them at every step.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens = tokens  # the most that a row will ever hold

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Append [rows, heads, new tokens, head size]; -> all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._hold(key_states[:, :, :0], value_states[:, :, :0])
        held = self.get_seq_length()
        total = held + key_states.shape[-2]
        self._roomy_keys[:, :, held:total] = key_states
        self._roomy_values[:, :, held:total] = value_states
        self.keys = self._roomy_keys[:, :, :total]
        self.values = self._roomy_values[:, :, :total]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`; a row may be kept several times."""
        self._hold(self.keys[indices], self.values[indices])

    def _hold(self, keys: Tensor, values: Tensor) -> None:
        rows, heads, held, size = keys.shape
        self._roomy_keys = keys.new_empty(rows, heads, self._tokens, size)
        self._roomy_values = values.new_empty(rows, heads, self._tokens, size)
        self.keys, self.values = self._roomy_keys[:, :, :held], self._roomy_values[:, :, :held]
        self.keys.copy_(keys)
        self.values.copy_(values)


def new_cache(layers: int, tokens: int) -> Cache:
    """An empty cache for `layers` layers and at most `tokens` tokens a row."""
    return Cache(layers=[RoomyLayer(tokens) for _ in range(layers)])
