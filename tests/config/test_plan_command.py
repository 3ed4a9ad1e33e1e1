"""command=plan, and the same estimate before a run."""

import json

import pytest
from memory.published import write_qwen3_30b_a3b

from slime.memory import check, machine
from slime.memory.machine import GIB, Machine

FITS = (
    "command=plan", "model=qwen3_30b_a3b", "plan.gpus=64", "plan.gpu_memory_gib=80",
    "rollout.max_prompt_tokens=512", "rollout.max_response_tokens=1024",
    "rollout.engine.batch_size=16", "parallel.max_tokens_per_microbatch=1536",
    "parallel.data=8", "parallel.tensor=4", "parallel.pipeline=2", "parallel.expert=8",
    "parallel.distributed_optimizer=true",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch):
    monkeypatch.setattr(machine, "_gpus", lambda: (0, 0))


def rows(text):
    return [line for line in text.splitlines() if line]


def test_a_plan_for_64_gpus_needs_nothing_but_config_json(command, tmp_path):
    folder = write_qwen3_30b_a3b(tmp_path / "qwen3")
    ended = command(*FITS, f"model.path={folder}")
    assert (ended.exit_code, ended.err, ended.trained) == (0, "", [])
    model, layout, batch, columns, first, last, _, engine, _, saved, verdict = rows(ended.out)
    assert model.endswith("48 layers, 30.53B parameters, 3.35B of them for each token")
    assert layout == (
        "layout: 64 workers (data 8, context 1, tensor 4, pipeline 2, expert 8), distributed "
        "optimizer, bfloat16"
    )
    assert batch == "micro-batch: at most 1536 tokens on a worker"
    assert columns.split()[-4:] == ["activations", "working", "process", "all"]
    # 2, 4 and 12 bytes of 650.4M parameters, as worked out in tests/memory/test_by_hand.py
    assert first.split()[2:8] == ["32", "650.4M", "1.2", "2.4", "5.3", "0.0"]
    assert last.startswith("last stage")
    assert engine.split()[2:4] == ["56.9", "2.3"]
    assert saved.split()[-5:] == ["machine", "57.5", "58.2", "81.5", "139.6"]
    assert verdict.startswith("the GPU of a train worker and the engine: needs 7")
    assert verdict.endswith("): fits")
    assert [path.name for path in tmp_path.iterdir()] == ["qwen3"]


def test_what_cannot_fit_is_refused_with_the_layout_that_would(command, tmp_path):
    folder = write_qwen3_30b_a3b(tmp_path / "qwen3")
    tight = [word.replace("=80", "=70") for word in FITS]
    ended = command(*tight, f"model.path={folder}")
    assert ended.exit_code == 2
    assert "does NOT fit" in ended.out
    short, advice = ended.messages
    assert short.startswith("the GPU of a train worker and the engine: needs 7")
    said = advice.partition(": ")[2].partition(" (")[0]
    assert said.startswith("parallel.")
    changed = {word.partition("=")[0] for word in said.split()}
    kept = [word for word in tight if word.partition("=")[0] not in changed]
    again = command(*kept, *said.split(), f"model.path={folder}")
    assert (again.exit_code, again.err) == (0, "")


def test_more_workers_than_there_are_gpus_are_told_a_layout_for_those_there_are(command, tmp_path):
    folder = write_qwen3_30b_a3b(tmp_path / "qwen3")
    many = [word.replace("data=8", "data=16") for word in FITS]
    large, small = (
        command(*many, f"model.path={folder}"),
        command("command=plan", "model=tiny", "plan.gpus=2", "plan.gpu_memory_gib=80",
                "parallel.data=4"),
    )  # fmt: skip
    assert large.messages[0].endswith("128 train workers need a GPU each, and there are 64")
    assert large.messages[1].startswith("what fits, with 64 workers: parallel.data=8 (the GPU of")
    assert small.messages[1].startswith("what fits, with 2 workers: parallel.data=2 (the GPU of")


def test_a_folder_of_another_family_than_the_preset_s_is_a_mistake(command, tmp_path):
    folder = write_qwen3_30b_a3b(tmp_path / "qwen3")
    ended = command("command=plan", "model=qwen3_4b", f"model.path={folder}")
    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.messages == [
        f"model.path: {folder} holds a qwen3_moe model, and model=qwen3_4b is a qwen3: write "
        f"model=path, or give the folder of that model"
    ]


@pytest.mark.parametrize("architectures", [{"a": 1}, "Qwen3MoeForCausalLM"])
def test_a_field_of_the_wrong_type_is_one_line(architectures, command, tmp_path):
    folder = write_qwen3_30b_a3b(tmp_path / "qwen3")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
    said = (
        f"model.path: {folder}/config.json: architectures must be a list of names, got "
        f"{architectures!r}"
    )
    for words in ((), ("command=plan",)):
        ended = command("model=path", f"model.path={folder}", *words)
        assert ended.exit_code == 2
        assert ended.messages[0] == said
        assert ended.messages.count(said) == 1
        assert ended.trained == []


def test_the_default_run_is_planned_for_this_machine(command):
    ended = command("command=plan", "plan.memory_gib=16")
    assert ended.exit_code == 0
    assert rows(ended.out)[0] == "model: llama, 30 layers, 134.5M parameters"
    assert rows(ended.out)[-1].startswith("main memory: needs ")


def test_checkpoints_that_are_saved_while_training_need_memory_beside_it(command):
    def needs(*given):
        verdict = rows(command("command=plan", "plan.memory_gib=99", "iterations=9", *given).out)[
            -1
        ]
        return float(verdict.split()[3])

    [end, last, both] = map(needs, (f"checkpoint.interval={n}" for n in (0, 9, 8)))
    assert end == last
    assert both == pytest.approx(end + 12 * 134.5e6 / GIB, abs=0.11)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["plan.gpus=2"], "plan.gpus=2: this machine has no GPU to take the memory from; write "
         "plan.gpu_memory_gib=<GiB of each>"),
        (["plan.gpu_memory_gib=80"], "plan.gpu_memory_gib=80 is the memory of each of plan.gpus, "
         "and there are none: write plan.gpus=<how many>"),
    ],
)  # fmt: skip
def test_gpus_that_nobody_knows_are_a_mistake(given, message, command):
    assert command("command=plan", *given).messages == [message]


def test_it_leaves_nothing_behind_and_imports_nothing_heavy(tmp_path):
    from .test_launch import SPY, launched

    done = launched(tmp_path, "command=plan", "plan.gpus=0", python=("-c", SPY))
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small(monkeypatch):
    def has(gibibytes):
        monkeypatch.setattr(check, "this_machine", lambda: Machine(int(gibibytes * GIB), 0, 0))

    return has


def test_a_run_whose_states_alone_do_not_fit_does_not_start(command, small, tmp_path):
    small(1.5)
    ended = command()
    [line] = ended.messages
    assert line.startswith(
        "main memory: weights, gradients and optimizer of the train workers alone need 2.0 of 1.5 "
        "GiB; no layout of the train workers fits: "
    )
    assert (ended.exit_code, ended.trained) == (2, [])
    assert not list(tmp_path.iterdir())


def test_a_run_that_probably_does_not_fit_starts_with_a_warning(command, small):
    small(6)
    ended = command()
    assert ended.exit_code == 0
    [line] = ended.err.splitlines()
    assert line.startswith("config warning: main memory may not suffice: this run needs about ")
    assert len(ended.trained) == 1


def test_another_machine_is_not_judged(command, small):
    small(0.001)
    ended = command("model=tiny", "cluster=existing")
    assert (ended.exit_code, ended.err, len(ended.trained)) == (0, "", 1)


def test_only_what_trains_is_judged(config, small):
    """command=check shrinks the model, and explain has none."""
    small(0.001)
    for wanted, refused in (("train", True), ("check", False), ("explain", False)):
        problems = list(check.problems(config("model=tiny", f"command={wanted}")))
        assert bool(problems) is refused
