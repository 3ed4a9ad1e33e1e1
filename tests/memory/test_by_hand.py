"""Qwen3-30B-A3B on 64 GPUs, worked out by hand from its published sizes.

64 workers: data 8 x tensor 4 x pipeline 2, experts shared by 8, bfloat16, distributed optimizer,
micro-batches of 1536 tokens.
"""

from dataclasses import replace

import pytest
from memory.published import write_qwen3_30b_a3b

from slime.config.schema import ParallelConfig, Precision
from slime.memory.activations import MicroBatch, activation_bytes
from slime.memory.checkpoint import checkpoint_memory
from slime.memory.engine import engine_memory
from slime.memory.estimate import Subject, estimate
from slime.memory.machine import GIB, Machine
from slime.memory.parameters import active_of_model, of_model, of_worker
from slime.memory.states import states_of
from slime.memory.worker import worker_memory
from slime.memory.workload import Device, Workload
from slime.model.architecture import read_architecture

LAYOUT = ParallelConfig(
    data=8, tensor=4, pipeline=2, expert=8, distributed_optimizer=True,
    max_tokens_per_microbatch=1536, precision=Precision.auto,
)  # fmt: skip
WORK = Workload(
    samples=256, prompt_tokens=512, response_tokens=1024, keeps_reference=False,
    generated_at_once=16, prompts_at_once=16, saves_while_training=True,
)  # fmt: skip
GPU = Device(on_gpu=True, element_bytes=2)

# ---- one layer ----
# q: 32 heads x 128 = 4096 rows; k and v: 4 x 128 = 512 rows each; o: 2048 x 4096
ATTENTION = (4096 + 512 + 512) * 2048 + 2048 * 4096
assert ATTENTION == 18_874_368
NORMS = 2048 + 2048 + 128 + 128  # before attention, before the experts, of queries, of keys
ROUTER = 128 * 2048
EXPERT = 3 * 768 * 2048  # gate, up, down
assert EXPERT == 4_718_592
# ---- outside of the layers ----
EMBEDDING = 151_936 * 2048
assert EMBEDDING == 311_164_928


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_architecture(write_qwen3_30b_a3b(tmp_path_factory.mktemp("qwen3")))


def test_the_model_has_30_5_billion_parameters_and_3_3_billion_active_ones(model):
    layer = ATTENTION + NORMS + ROUTER + 128 * EXPERT
    assert layer == 623_120_640
    whole = 48 * layer + 2 * EMBEDDING + 2048  # untied; and the last norm
    assert whole == 30_532_122_624
    assert of_model(model) == whole
    active = 48 * (ATTENTION + NORMS + ROUTER + 8 * EXPERT) + 2 * EMBEDDING + 2048
    assert active == 3_353_032_704
    assert active_of_model(model) == active


def test_a_worker_holds_an_eighth_of_the_experts_and_a_quarter_of_each_product(model):
    # 24 layers a stage; products over 4, norms and routers on all; 16 experts, a quarter of each
    dense = 24 * (ATTENTION // 4 + NORMS + ROUTER)
    experts = 24 * 16 * EXPERT // 4
    assert (dense, experts) == (119_642_112, 452_984_832)
    first, last = of_worker(model, LAYOUT, 0), of_worker(model, LAYOUT, 1)
    assert (first.dense, first.experts) == (dense + EMBEDDING // 4, experts)
    assert (last.dense, last.experts) == (dense + EMBEDDING // 4 + 2048, experts)


def test_states_are_2_4_and_12_bytes_and_the_optimizer_is_shared(model):
    held = of_worker(model, LAYOUT, 0)
    states = states_of(held, LAYOUT, 2)
    parameters = 119_642_112 + 77_791_232 + 452_984_832
    assert parameters == 650_418_176
    assert states.weights == 2 * parameters
    assert states.gradients == 4 * parameters
    # dense ones over data x context = 8 workers; experts are held by 8 / 8 = 1 worker each
    assert states.optimizer == 12 * (197_433_344 // 8 + 452_984_832)
    assert states.total == pytest.approx(9.0 * GIB, rel=0.01)


def test_activations_of_a_stage(model):
    """T = 1536 tokens; sequence parallelism splits them to 384 where nothing is multiplied."""
    tokens, shared, dense = 1536, 384, 1536
    # two norms: float32 input and output of 2048, one number; a bfloat16 input of the product each
    norms = 2 * shared * (4 * (2 * 2048 + 1) + 2 * 2048)
    # 8 query heads and 1 key head of 128: norms of queries and keys in float32 (input, output, 1)
    query_key = 4 * tokens * (9 * 128 + 9 * 129)
    # queries, keys, values and the result as attention sees them, the result once more packed, the
    # rotary tables, and a float32 sum a row and head
    attention = 2 * dense * (8 + 1 + 1 + 8) * 128 + 2 * tokens * (8 + 4) * 128 + 4 * dense * 8
    # router: 128 scores twice in float32 and a mask; 8 choices with 2 indices and a weight; a sum
    routing = shared * (128 * 9 + 8 * 20 + 4)
    # 8 experts a token: input of 2048, six times 768 / 4 rows, a weight
    experts = 2 * 8 * tokens * (2048 + 6 * 192 + 1)
    layer = norms + query_key + attention + routing + experts
    batch = MicroBatch(tokens, dense, tokens)
    first = activation_bytes(model, LAYOUT, 0, batch, 2)
    assert first == 24 * layer + 8 * tokens  # and the token ids
    last = activation_bytes(model, LAYOUT, 1, batch, 2)
    assert last == 24 * layer + 4 * shared * (2 * 2048 + 1)  # and the last norm


def test_the_first_of_two_stages_has_two_micro_batches_under_way(model):
    first, last = (worker_memory(model, WORK, LAYOUT, GPU, stage) for stage in (0, 1))
    assert (first.in_flight, last.in_flight) == (2, 1)
    one = activation_bytes(model, LAYOUT, 0, MicroBatch(1536, 1536, 1536), 2)
    assert first.activations == 2 * one


def test_the_loss_has_a_chunk_of_logits_and_the_gradient_of_its_output_layer(model):
    last = worker_memory(model, WORK, LAYOUT, GPU, 1)
    hidden = 1536 * 2048 * (2 + 2 + 4)
    chunks = 3 * 4 * 2**24
    output_layer = 2 * EMBEDDING // 4
    assert last.working == hidden + chunks + output_layer


def test_the_engine_holds_all_of_it_and_keys_and_values_of_16_rollouts(model):
    engine = engine_memory(model, WORK, GPU, of_model(model))
    assert engine.weights == 2 * 30_532_122_624  # 56.9 GiB
    of_token = 2 * 4 * 128 * 2  # keys and values of 4 heads of 128 in bfloat16, each layer
    assert engine.cache == 16 * 1536 * of_token * 49
    # all prompts at once through a layer: four hidden states, and three times 8 experts' 768 rows;
    # the logits of one token a rollout, 16 x 151,936 x (2 + 3 x 4) bytes, are less than that
    assert engine.working == 2 * 16 * 512 * (4 * 2048 + 3 * 8 * 768) == 436_207_616


def test_eight_workers_of_a_machine_copy_their_part_of_a_checkpoint(model):
    """Of the second stage, which also has the last norm: 4 of 8 have what no expert is first, and
    all 8 have experts of their own; 2 + 4 + 8 bytes each.  Every one gathers all that it holds.
    """
    dense, experts = 197_433_344 + 2048, 452_984_832
    saved = checkpoint_memory(model, LAYOUT, 2, 8)
    assert saved.copied == 14 * (4 * dense + 8 * experts)  # 57.5 GiB
    assert saved.gathered == 8 * 12 * (dense + experts)  # 58.2 GiB
    own = dense // 8 + experts
    assert saved.passing == 8 * (8 * (dense + experts) + 12 * own)  # 81.5 GiB


def test_main_memory_has_the_copies_and_the_weights_that_are_pushed(model):
    pushed = 2 * 30_532_122_624
    saved = checkpoint_memory(model, LAYOUT, 2, 8)
    for work, needed in (
        (WORK, 3 * pushed + saved.copied),
        (replace(WORK, saves_while_training=False), max(3 * pushed, pushed + saved.beginning)),
    ):
        machine = Machine(1000 * GIB, 64, 80 * GIB)
        found = estimate(Subject(model, work, Precision.auto, machine), LAYOUT)
        assert found.needs[-1].where == "main memory"
        assert found.needs[-1].bytes == needed


@pytest.mark.parametrize(("gpus", "places"), [(64, 1), (65, 2)])
def test_64_workers_on_64_gpus_share_one_with_the_engine_and_on_65_they_do_not(gpus, places, model):
    subject = Subject(model, WORK, Precision.auto, Machine(None, gpus, 80 * GIB))
    found = estimate(subject, LAYOUT)
    assert len(found.needs) == places
    assert found.fits
    if places == 1:
        largest = max(stage.total for stage in found.stages)
        assert found.needs[0].bytes == largest + found.engine.total + 2 * 2 * GIB
        assert found.needs[0].bytes == pytest.approx(76.6 * GIB, rel=0.02)
