"""What the parts of an estimate depend on, and what becomes of them on a machine."""

from dataclasses import replace

import pytest
from memory.architectures import LLAMA, MIXTURE, QWEN3

from slime.config.schema import Layout, ParallelConfig, Precision
from slime.memory.estimate import DRIVER_AND_RAY, TRAIN_PROCESS, Subject, estimate
from slime.memory.machine import GIB, Machine
from slime.memory.parameters import Parameters, of_model, of_worker
from slime.memory.refuse import problems_of
from slime.memory.search import fitting_layout
from slime.memory.states import states_of
from slime.memory.table import count, gib, text_of
from slime.memory.worker import worker_memory
from slime.memory.workload import Device, Workload, device_of, largest_micro_batch
from slime.model.tensors import tensor_shapes

CPU = Device(on_gpu=False, element_bytes=4)
WORK = Workload(
    samples=64, prompt_tokens=100, response_tokens=100, keeps_reference=False,
    generated_at_once=64, prompts_at_once=8, saves_while_training=True,
)  # fmt: skip
LARGE = replace(
    QWEN3, layers=32, hidden_size=4096, attention_heads=32, key_value_heads=8, head_size=128,
    feed_forward_size=14336, vocabulary_size=128256,
)  # fmt: skip
P = ParallelConfig
PROCESSES = TRAIN_PROCESS + DRIVER_AND_RAY


def on(machine: Machine, model=LARGE, work=WORK) -> Subject:
    return Subject(model, work, Precision.auto, machine)


def gpus(number: int, gibibytes: float = 80) -> Machine:
    return Machine(None, number, int(gibibytes * GIB))


@pytest.mark.parametrize("model", [LLAMA, QWEN3, MIXTURE])
def test_a_whole_model_has_the_parameters_that_its_files_have(model):
    values = 0
    for _, shape in tensor_shapes(model):
        rows, columns = shape if len(shape) == 2 else (*shape, 1)
        values += rows * columns
    assert of_model(model) == values


def test_float32_needs_16_bytes_a_parameter_and_bfloat16_18():
    held = Parameters(dense=1000, experts=0)
    assert states_of(held, P(), 4).total == 16_000
    assert states_of(held, P(), 2).total == 18_000
    whole = P(data=4, context=2, distributed_optimizer=True)
    assert states_of(held, whole, 4).optimizer == 8 * 125
    assert states_of(held, P(data=4, context=2), 4).optimizer == 8 * 1000


def test_a_mixture_shares_the_optimizer_of_experts_over_fewer_workers():
    layout = P(data=8, expert=4, distributed_optimizer=True)
    assert states_of(Parameters(800, 800), layout, 4).optimizer == 8 * (100 + 400)


def test_tensor_and_pipeline_parallel_workers_hold_the_model_between_them():
    layout = P(tensor=4, pipeline=2, data=4, expert=4)
    held = [of_worker(MIXTURE, layout, stage) for stage in range(2)]
    assert sum(stage.experts for stage in held) * 4 * 4 == of_worker(MIXTURE, P(), 0).experts


def test_a_micro_batch_is_bounded_by_its_tokens_by_its_samples_or_by_their_number():
    assert largest_micro_batch(WORK, P(max_tokens_per_microbatch=1000)).tokens == 1000
    assert largest_micro_batch(WORK, P(max_tokens_per_microbatch=1000, context=2)).tokens == 500
    assert largest_micro_batch(WORK, P(max_tokens_per_microbatch=10**6, data=8)).tokens == 1600
    assert largest_micro_batch(WORK, P(microbatches=16)).tokens == 4 * 200


def test_packed_sequences_may_be_shorter_than_the_longest_and_padded_ones_are_not():
    assert largest_micro_batch(WORK, P()).dense_rows == 2 * 1024
    assert largest_micro_batch(WORK, P(layout=Layout.bshd)).dense_rows == 1024
    assert largest_micro_batch(WORK, P(max_tokens_per_microbatch=200)).dense_rows == 200


def test_a_kl_term_keeps_the_weights_once_more():
    with_kl = replace(WORK, keeps_reference=True)
    plain, kept = (worker_memory(QWEN3, work, P(), CPU, 0) for work in (WORK, with_kl))
    assert kept.total - plain.total == plain.states.weights == 4 * of_model(QWEN3)


def test_pipeline_stages_hold_as_many_micro_batches_as_come_before_the_first_returns():
    stages = [worker_memory(QWEN3, WORK, P(pipeline=4), CPU, n) for n in range(4)]
    assert [stage.in_flight for stage in stages] == [4, 3, 2, 1]
    few = [worker_memory(QWEN3, WORK, P(pipeline=4, microbatches=2), CPU, n) for n in range(4)]
    assert [stage.in_flight for stage in few] == [2, 2, 2, 1]


def test_precision_auto_is_bfloat16_on_a_gpu_only():
    for precision, on_gpu, element in (
        (Precision.auto, True, 2), (Precision.auto, False, 4),
        (Precision.bfloat16, False, 2), (Precision.float32, True, 4),
    ):  # fmt: skip
        assert device_of(precision, on_gpu=on_gpu).element_bytes == element


def test_all_workers_of_a_cpu_share_its_memory():
    one, four = (estimate(on(Machine(64 * GIB, 0, 0), QWEN3), P(data=n)) for n in (1, 4))
    [of_one], [of_four] = one.needs, four.needs
    assert of_four.states == 4 * of_one.states == 4 * 16 * of_model(QWEN3)


def test_a_cpu_has_the_copies_of_a_checkpoint_beside_whatever_goes_on():
    """12 bytes a parameter in float32; at the end only, there is no step beside them."""
    machine = Machine(64 * GIB, 0, 0)
    at_the_end = replace(WORK, saves_while_training=False, generated_at_once=None)
    meanwhile = replace(at_the_end, saves_while_training=True)
    [one], [two] = (
        estimate(on(machine, LLAMA, work), P(data=2)).needs for work in (at_the_end, meanwhile)
    )
    assert two.bytes - one.bytes == 12 * of_model(LLAMA)
    large = replace(LLAMA, vocabulary_size=2**20)  # its states are more than a step needs
    tiny = replace(at_the_end, samples=1, prompt_tokens=1, response_tokens=1)
    found = estimate(on(machine, large, tiny), P(max_tokens_per_microbatch=2))
    step = found.stages[0].activations + found.stages[0].working
    assert step < 12 * of_model(large)
    without = found.needs[0].bytes - 12 * of_model(large)
    assert without == found.stages[0].states.total + 4 * of_model(large) + PROCESSES


def test_what_fits_is_said_and_leaves_no_problem():
    found = estimate(on(gpus(9)), P(data=2, tensor=4, distributed_optimizer=True))
    assert found.fits
    assert list(problems_of(found)) == []


def test_a_layout_that_does_not_fit_is_told_the_nearest_one_that_does():
    subject = on(gpus(9))
    [short, advice] = problems_of(estimate(subject, P(data=8)))
    assert short.startswith("a train worker's GPU: needs 166.5")
    assert advice.startswith("what fits, with 8 workers: parallel.distributed_optimizer=true (")


def test_the_search_changes_the_layout_only_as_far_as_it_has_to():
    """Two workers to a model suffice, and four would too; larger micro-batches would not fit."""
    small = on(gpus(9, 40))
    fitting = fitting_layout(small, P(data=8))
    assert fitting.overrides(small, P(data=8)) == [
        "parallel.data=4", "parallel.tensor=2", "parallel.distributed_optimizer=true",
        "parallel.max_tokens_per_microbatch=512",
    ]  # fmt: skip
    assert estimate(small, fitting.parallel).fits
    assert not estimate(small, replace(fitting.parallel, max_tokens_per_microbatch=1024)).fits


def test_of_layouts_alike_the_one_with_fewer_changed_keys_is_taken():
    """Two workers to a model, as they are; not the same two in one stage."""
    subject, before = on(gpus(9, 60)), P(data=4, pipeline=2)
    fitting = fitting_layout(subject, before)
    assert fitting.overrides(subject, before) == ["parallel.distributed_optimizer=true"]


def test_a_smaller_batch_of_rollouts_is_part_of_it_where_the_engine_does_not_fit():
    many = on(gpus(9), work=replace(WORK, generated_at_once=4096))
    fitting = fitting_layout(many, P(data=8))
    *_, batch = fitting.overrides(many, P(data=8))
    assert batch.startswith("rollout.engine.batch_size=")


def test_more_gpus_are_named_where_these_are_too_few():
    subject = on(gpus(2, 24))
    work = replace(WORK, generated_at_once=None)
    [_, advice] = problems_of(estimate(replace(subject, work=work), P()))
    assert advice.startswith("what fits, with ")
    assert " GPUs: parallel." in advice
    [few, *_] = problems_of(estimate(subject, P(data=4, tensor=4)))
    assert few.endswith("16 train workers need a GPU each, and there are 2")


@pytest.mark.parametrize(
    ("there_are", "asked", "workers"),
    [(8, P(data=16), 8), (9, P(data=10), 9), (8, P(data=8, tensor=2), 8), (64, P(data=6), 6)],
)
def test_more_gpus_are_not_asked_for_where_these_suffice(there_are, asked, workers):
    """As many workers as there are GPUs, or as were asked for."""
    subject = on(gpus(there_are))
    fitting = fitting_layout(subject, asked)
    assert fitting.parallel.workers == workers
    assert fitting.subject.machine.gpus == there_are


def test_the_number_of_workers_is_the_nearest_for_which_a_layout_fits():
    """Seven can only hold a whole model each, which is too large; six hold three in two stages."""
    model = replace(LARGE, layers=2)
    subject = on(gpus(7, 10), model, replace(WORK, generated_at_once=None))
    assert not estimate(subject, P(data=7, distributed_optimizer=True)).fits
    assert fitting_layout(subject, P(data=7)).parallel.workers == 6
    assert fitting_layout(subject, P(data=7, tensor=4)).parallel.workers == 6


def test_an_engine_that_is_larger_than_a_gpu_is_what_is_told():
    subject = on(gpus(64, 12))
    *_, advice = problems_of(estimate(subject, P(data=64)))
    assert "rollout/engine=local holds the whole model, 15.0 GiB, on one GPU of 12.0 GiB" in advice


def test_the_table_has_a_row_for_each_kind_of_worker():
    subject = on(Machine(512 * GIB, 0, 0), QWEN3)
    text = text_of(estimate(subject, P(pipeline=4, data=3)))
    first, middle, last = (line for line in text.splitlines() if "stage" in line)
    assert first.split()[:4] == [
        "first",
        "stage",
        "3",
        count(of_worker(QWEN3, P(pipeline=4), 0).total),
    ]
    assert middle.startswith("stages 2 to 3, at most        6")
    assert last.startswith("last stage")
    assert text.splitlines()[-1].endswith("(2%): fits")
    saved = next(line for line in text.splitlines() if "workers of a machine" in line)
    copied = gib(12 * of_model(QWEN3))
    assert saved.split() == ["12", "workers", "of", "a", "machine", copied, "0.0", "0.0", copied]


def test_numbers_have_three_digits_where_they_mean_something():
    assert [gib(n * GIB // 1000) for n in (0, 1, 56, 1500, 250000)] == [
        "0.0", "0.001", "0.056", "1.5", "250.0"
    ]  # fmt: skip
    assert [count(n) for n in (12, 1200, 134_500_000, 30_532_122_624)] == [
        "12", "1.2k", "134.5M", "30.53B"
    ]  # fmt: skip
