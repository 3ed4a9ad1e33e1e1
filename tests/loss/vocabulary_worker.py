"""One of two gloo processes that share a vocabulary: python vocabulary_worker.py RANK FILE

Compares values and gradients with plain torch on the whole vocabulary; exits with a traceback
where they differ.
"""

import sys

import torch
from torch import distributed

from slime.loss import VocabularyShard, log_probs_and_entropy

ROWS = (7, 4)  # of the output weight: shards need not have the same size


def check(rank, tokens, chunk_elements, entropy_gradient, transposed):
    generator = torch.Generator().manual_seed(tokens)
    hidden_TH = 3 * torch.randn(tokens, 5, generator=generator, dtype=torch.float64)
    weight_VH = torch.randn(sum(ROWS), 5, generator=generator, dtype=torch.float64)
    targets_T = torch.randint(sum(ROWS), (tokens,), generator=generator)
    mixture_T = torch.linspace(-1, 2, tokens, dtype=torch.float64)

    def mixture(log_probs_T, entropy_T):
        return mixture_T @ (log_probs_T + (entropy_T if entropy_gradient else 0))

    whole_hidden, whole_weight = hidden_TH.clone().requires_grad_(), weight_VH.requires_grad_()
    log_p_TV = torch.log_softmax(whole_hidden @ whole_weight.t() / 0.7, dim=-1)
    expected_log_probs_T = log_p_TV.gather(1, targets_T[:, None])[:, 0]
    expected_entropy_T = -(log_p_TV.exp() * log_p_TV).sum(-1)
    mixture(expected_log_probs_T, expected_entropy_T).backward()

    first = sum(ROWS[:rank])
    mine = slice(first, first + ROWS[rank])
    own_hidden = hidden_TH.t().contiguous().t() if transposed else hidden_TH.clone()
    own_hidden.requires_grad_()
    own_weight = weight_VH.detach()[mine].clone().requires_grad_()
    log_probs_T, entropy_T = log_probs_and_entropy(
        own_hidden,
        own_weight,
        targets_T,
        temperature=0.7,
        shard=VocabularyShard(
            first,
            distributed.all_reduce,
            lambda values: distributed.all_reduce(values, distributed.ReduceOp.MAX),
        ),
        chunk_elements=chunk_elements,
        entropy_gradient=entropy_gradient,
    )
    mixture(log_probs_T, entropy_T).backward()
    torch.testing.assert_close(log_probs_T, expected_log_probs_T)
    torch.testing.assert_close(entropy_T, expected_entropy_T)
    torch.testing.assert_close(own_hidden.grad, whole_hidden.grad)
    torch.testing.assert_close(own_weight.grad, whole_weight.grad[mine])


def main(rank, meeting_file):
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting_file}", rank=rank, world_size=len(ROWS)
    )
    for tokens, chunk_elements in ((9, 27), (1, 512), (0, 512)):
        for entropy_gradient in (True, False):
            for transposed in (False, True):
                check(rank, tokens, chunk_elements, entropy_gradient, transposed)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
