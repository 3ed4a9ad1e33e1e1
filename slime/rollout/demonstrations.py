"""rollout/engine=demonstrations: groups of one rollout, whose response the task gives.

Nobody sampled it, so its probability is not known: its rollout log-probs are 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from slime.config.schema import ConfigError, RolloutConfig
from slime.data import Finish, Group
from slime.model.tokenizer import Tokenizer
from slime.rollout.engine import Generation
from slime.rollout.generate import group_of
from slime.rollout.limits import encode_within_limit, excerpt
from slime.task import Demonstration


@dataclass(frozen=True, slots=True)
class Demonstrator:
    """Turns demonstrations into groups."""

    tokenizer: Tokenizer
    config: RolloutConfig
    end_token: int  # closes every response, so that a trained model closes its own
    stop_token_ids: frozenset[int]  # all that end a rollout
    stop_texts: tuple[str, ...]  # the same as they stand in a text

    def group(self, demonstration: Demonstration) -> Group:
        """Raises ConfigError for a response that is too long, or would be stopped early."""
        prompt = demonstration.prompt
        prompt_tokens = encode_within_limit(prompt, self.tokenizer, self.config)
        tokens_R = torch.tensor(self._response(demonstration))
        generation = Generation(tokens_R, torch.zeros(len(tokens_R)), Finish.stop)
        return group_of(prompt, prompt_tokens, [generation], self.tokenizer)

    def check(self, demonstrations: Iterable[Demonstration]) -> None:
        """Raise ConfigError for the first one whose response `group` would refuse."""
        for demonstration in demonstrations:
            response = demonstration.response
            # A token is at least a byte of text, so most responses need no tokenizer.
            short = len(response.encode()) < self.config.max_response_tokens
            if not short or any(text in response for text in self.stop_texts):
                self._response(demonstration)

    def _response(self, demonstration: Demonstration) -> list[int]:
        where, response = demonstration.where, demonstration.response
        tokens = self.tokenizer.encode_response(demonstration.prompt.text, response)
        if any(token in self.stop_token_ids for token in tokens):
            raise ConfigError(
                f"{where} the response {excerpt(response)} holds a token that ends rollouts; "
                f"leave it out (one is added at the end), or change task.stop_tokens"
            )
        needed, limit = len(tokens) + 1, self.config.max_response_tokens
        if needed > limit:
            raise ConfigError(
                f"{where} the response {excerpt(response)} has {needed} tokens with the one that "
                f"ends it; write rollout.max_response_tokens={needed} or more, or shorten it"
            )
        return [*tokens, self.end_token]


def build_demonstrator(
    config: RolloutConfig, stop_tokens: Sequence[str], tokenizer: Tokenizer
) -> Demonstrator:
    """A response ends with the first of task.stop_tokens, else with the model's own end token.

    Raises ConfigError when there is neither, and for a stop text that is not a single token.
    """
    return Demonstrator(
        tokenizer=tokenizer,
        config=config,
        end_token=tokenizer.closing_token(stop_tokens),
        stop_token_ids=tokenizer.stop_token_ids(stop_tokens),
        stop_texts=(*stop_tokens, *tokenizer.end_texts),
    )
