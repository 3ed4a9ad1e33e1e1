"""A rollout engine without a model."""

import torch

from slime.data import Finish
from slime.rollout.engine import Generation


class Parrot:
    """Answers every request with the same text, and remembers what it was asked."""

    def __init__(self, tokenizer, text, finish=Finish.length):
        self.tokens = torch.tensor(tokenizer.encode(text))
        self.finish = finish
        self.asked = []

    def generate(self, requests, sampling):
        self.asked.append((list(requests), sampling))
        log_probs = torch.linspace(-2, -1, len(self.tokens))
        return [Generation(self.tokens, log_probs, self.finish) for _ in requests]

    def logits(self, sequences, precision):
        raise AssertionError(f"no logits were expected, got {sequences} in {precision}")

    def load_weights(self, shards):
        raise AssertionError(f"no weights were expected, got {shards}")
