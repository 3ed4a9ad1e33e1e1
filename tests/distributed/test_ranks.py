"""Our arithmetic on ranks against megatron's own groups."""

import itertools

import pytest
from processes import run_processes

from slime.config.schema import ParallelConfig
from slime.distributed.ranks import data_rank, speaker

LAYOUTS = [
    ParallelConfig(data=data, context=context, tensor=tensor, pipeline=pipeline)
    for data, context, tensor, pipeline in itertools.product([1, 2, 3], [1, 2], [1, 3], [1, 2])
]


def megatron_groups(_rank):
    """In a process of its own, because megatron-core is slow to import and warns a lot."""
    from megatron.core.parallel_state import RankGenerator

    return [
        {
            kind: RankGenerator(
                tp=config.tensor, ep=1, dp=config.data, pp=config.pipeline, cp=config.context,
                order="tp-cp-ep-dp-pp",
            ).get_ranks(kind)
            for kind in ("dp", "pp", "tp-cp")
        }
        for config in LAYOUTS
    ]  # fmt: skip


@pytest.fixture(scope="module")
def groups():
    return run_processes(1, megatron_groups)[0]


def test_a_workers_share_is_its_number_in_its_data_parallel_group(groups):
    for config, group_of in zip(LAYOUTS, groups, strict=True):
        for group in group_of["dp"]:
            assert [data_rank(rank, config) for rank in group] == list(range(config.data))


def test_the_speaker_is_the_first_worker_on_the_last_stage_of_its_share(groups):
    for config, group_of in zip(LAYOUTS, groups, strict=True):
        last_stage = {group[-1] for group in group_of["pp"]}
        firsts = {group[0] for group in group_of["tp-cp"]}
        for share in range(config.data):
            rank = speaker(share, config)
            assert data_rank(rank, config) == share
            assert rank in last_stage & firsts
