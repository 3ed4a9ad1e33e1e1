"""How long a prompt may be.  A prompt that is too long is an error, never cut."""

from collections.abc import Iterable

from slime.config.schema import ConfigError, RolloutConfig
from slime.data import Prompt
from slime.model.tokenizer import Tokenizer

_BEGINNING = 8  # characters


def encode_within_limit(
    prompt: Prompt, tokenizer: Tokenizer, config: RolloutConfig
) -> tuple[int, ...]:
    """The prompt's tokens.

    Raises ConfigError if there are none, or more than rollout.max_prompt_tokens.
    """
    tokens = tuple(tokenizer.encode(prompt.text))
    if not tokens:
        raise ConfigError(
            f"task: the model's tokenizer makes no tokens of the prompt {excerpt(prompt.text)}; "
            f"change that prompt"
        )
    if len(tokens) > config.max_prompt_tokens:
        raise ConfigError(
            f"rollout.max_prompt_tokens={config.max_prompt_tokens}: the prompt "
            f"{excerpt(prompt.text)} has {len(tokens)} tokens; raise the limit or shorten it"
        )
    return tokens


def check_lengths(
    prompts: Iterable[Prompt], tokenizer: Tokenizer, config: RolloutConfig, positions: int
) -> None:
    """Raise ConfigError for the first prompt that is too long, alone or with its response, or that
    has no tokens.

    positions: the longest sequence that the model was made for.
    """
    with_response = positions - config.max_response_tokens
    limit = min(config.max_prompt_tokens, with_response)
    for prompt in prompts:
        # A token is at least a byte of text, so of a short text its beginning tells enough.
        if len(prompt.text.encode()) < limit and tokenizer.encode(prompt.text[:_BEGINNING]):
            continue
        tokens = encode_within_limit(prompt, tokenizer, config)
        if len(tokens) > with_response:
            raise ConfigError(
                f"rollout.max_response_tokens={config.max_response_tokens}: with the "
                f"{len(tokens)} tokens of the prompt {excerpt(prompt.text)} that is more than "
                f"the model's {positions} positions; lower it"
            )


def excerpt(text: str) -> str:
    """As much of a text as fits into a message, in quotes."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
