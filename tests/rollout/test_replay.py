import json
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from slime.config.schema import ConfigError
from slime.data import Finish, Group, Prompt, Rollout, Sample
from slime.rollout.check import saved_iterations
from slime.rollout.engine import Sampling
from slime.rollout.replay import (
    load_iteration,
    open_save_folder,
    read_iteration,
    reopen_save_folder,
    save_iteration,
)

SAMPLING = Sampling(0.7, 0.9, max_response_tokens=4, stop_token_ids=frozenset())

float32 = st.floats(width=32)  # NaN and infinities too
finite = st.floats(allow_nan=False, allow_infinity=False)
tokens = st.integers(0, 2**40)


@st.composite
def samples(draw, prompt_id, rollout_id):
    response = draw(st.lists(st.tuples(tokens, st.booleans(), float32), max_size=5))
    return Sample(
        prompt_id=draw(st.sampled_from([prompt_id, None])),
        rollout_id=rollout_id,
        prompt_tokens_P=torch.tensor(draw(st.lists(tokens, max_size=5)), dtype=torch.int64),
        response_tokens_R=torch.tensor([r[0] for r in response], dtype=torch.int64),
        loss_mask_R=torch.tensor([r[1] for r in response], dtype=torch.bool),
        rollout_log_probs_R=torch.tensor([r[2] for r in response], dtype=torch.float32),
    )


@st.composite
def rollouts(draw, prompt_id):
    rollout_id = draw(tokens)
    return Rollout(
        id=rollout_id,
        prompt_id=prompt_id,
        samples=tuple(draw(st.lists(samples(prompt_id, rollout_id), min_size=1, max_size=3))),
        text=draw(st.text()),
        finish=draw(st.sampled_from(Finish)),
        reward=draw(st.none() | finite),
        shaping=draw(finite),
    )


@st.composite
def groups(draw):
    prompt_id = draw(tokens)
    prompt = Prompt(prompt_id, draw(st.text()), draw(st.text()))
    return Group(prompt, tuple(draw(st.lists(rollouts(prompt_id), max_size=3))))


def identical(one, other):
    """Deeply equal, tensors in every bit and their dtypes."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, Group | Rollout | Sample):
        return all(identical(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return type(one) is type(other) and one == other


@given(st.lists(groups(), max_size=3))
def test_groups_come_back_bit_for_bit(tmp_path_factory, saved):
    folder = tmp_path_factory.mktemp("saved")
    save_iteration(folder, SAMPLING, 0, saved)
    assert identical(load_iteration(folder, 0), saved)


def group(reward=1.0):
    sample = Sample(
        prompt_id=1,
        rollout_id=2,
        prompt_tokens_P=torch.tensor([5, 6]),
        response_tokens_R=torch.tensor([7, 8, 9]),
        loss_mask_R=torch.tensor([True, False, True]),
        rollout_log_probs_R=torch.tensor([-0.5, -1.0, -2.0]),
    )
    rollout = Rollout(2, 1, (sample, sample), "t", Finish.stop, reward, shaping=-0.5)
    return Group(Prompt(1, "q", "a"), (rollout,))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "saved"
    open_save_folder(folder, tmp_path)
    for iteration in range(3):
        save_iteration(folder, SAMPLING, iteration, [group(reward=iteration)])
    return folder


def test_iterations_are_told_apart(folder):
    assert [load_iteration(folder, i)[0].rollouts[0].reward for i in range(3)] == [0, 1, 2]


def test_the_sampling_distribution_is_saved_with_the_rollouts(folder):
    saved = read_iteration(folder, 1)
    assert (saved.temperature, saved.top_p) == (0.7, 0.9)
    assert identical(list(saved.groups), load_iteration(folder, 1))


def test_the_files_are_those_of_the_documentation(folder):
    iteration = folder / "iteration_00001"
    assert {p.name for p in iteration.iterdir()} == {"rollouts.json", "samples.safetensors"}
    index = json.loads((iteration / "rollouts.json").read_text())
    assert (index["format"], index["version"], index["iteration"]) == ("slime-rollouts", 1, 1)
    assert (index["temperature"], index["top_p"]) == (0.7, 0.9)
    assert index["groups"] == [
        {
            "prompt": {"id": 1, "text": "q", "answer": "a"},
            "rollouts": [
                {
                    "id": 2,
                    "prompt_id": 1,
                    "text": "t",
                    "finish": "stop",
                    "reward": 1,
                    "shaping": -0.5,
                    "samples": 2
                    * [
                        {
                            "prompt_id": 1,
                            "rollout_id": 2,
                            "prompt_tokens": 2,
                            "response_tokens": 3,
                        }
                    ],
                }
            ],
        }
    ]
    tensors = load_file(iteration / "samples.safetensors")
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "prompt_tokens": [5, 6, 5, 6],
        "response_tokens": [7, 8, 9, 7, 8, 9],
        "loss_mask": [True, False, True, True, False, True],
        "rollout_log_probs": [-0.5, -1.0, -2.0, -0.5, -1.0, -2.0],
    }


def test_rollouts_that_were_saved_before_there_was_shaping_have_none(folder):
    index = folder / "iteration_00001" / "rollouts.json"
    older = index.read_text().replace('"shaping": -0.5,', "")
    assert "shaping" not in older
    index.write_text(older)
    [group] = load_iteration(folder, 1)
    assert (group.rollouts[0].reward, group.rollouts[0].shaping) == (1, 0.0)


def test_an_iteration_in_which_nothing_was_trained_comes_back_empty(folder):
    save_iteration(folder, SAMPLING, 3, [])
    assert load_iteration(folder, 3) == []


def test_an_iteration_is_never_overwritten_and_no_half_one_is_left(folder):
    with pytest.raises(ConfigError, match=r"rollout\.save.*exists already"):
        save_iteration(folder, SAMPLING, 1, [group()])
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_iteration(folder, SAMPLING, 3, [group(reward=float("nan"))])
    assert sorted(path.name for path in folder.glob("*[!n]")) == [
        "iteration_00000",
        "iteration_00001",
        "iteration_00002",
    ]


def test_a_run_that_goes_on_saves_again_what_came_after_and_another_run_does_not(folder, tmp_path):
    with pytest.raises(ConfigError, match="already holds saved iterations"):
        reopen_save_folder(folder, tmp_path / "another", 1)
    assert saved_iterations(folder) == {0, 1, 2}
    reopen_save_folder(folder, tmp_path, 1)
    assert saved_iterations(folder) == {0}
    save_iteration(folder, SAMPLING, 1, [group()])


def test_a_folder_with_iterations_of_another_run_is_not_written_to(folder, tmp_path):
    with pytest.raises(ConfigError, match="already holds saved iterations"):
        open_save_folder(folder, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"rollout\.save: cannot make"):
        open_save_folder(tmp_path / "file" / "saved", tmp_path)


def test_an_iteration_that_was_not_saved_is_named(folder):
    with pytest.raises(ConfigError, match="has only 3 saved iterations"):
        load_iteration(folder, 3)
    (folder / "iteration_00001").rename(folder / "gone")
    with pytest.raises(ConfigError, match="lacks iteration 1"):
        load_iteration(folder, 1)


def test_a_rollout_without_samples_is_neither_saved_nor_loaded(folder):
    nothing = Group(Prompt(1, "q", "a"), (Rollout(12, 1, (), "t", Finish.aborted, 0.0),))
    with pytest.raises(ValueError, match="rollout 12 has no samples"):
        save_iteration(folder, SAMPLING, 3, [nothing])
    without_samples(folder / "iteration_00000")
    with pytest.raises(ConfigError, match="rollout 2 has no samples"):
        load_iteration(folder, 0)


def without_samples(iteration):
    path = iteration / "rollouts.json"
    index = json.loads(path.read_text())
    index["groups"][0]["rollouts"][0]["samples"] = []
    path.write_text(json.dumps(index))
    path = iteration / "samples.safetensors"
    save_file({name: tensor[:0] for name, tensor in load_file(path).items()}, path)


def without(key):
    def change(iteration):
        path = iteration / "rollouts.json"
        index = json.loads(path.read_text())
        del index[key]
        path.write_text(json.dumps(index))

    return change


def of_another_rollout(iteration):
    path = iteration / "rollouts.json"
    index = json.loads(path.read_text())
    index["groups"][0]["rollouts"][0]["samples"][1]["rollout_id"] = 3
    path.write_text(json.dumps(index))


def cut_short(iteration):
    path = iteration / "samples.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def without_a_tensor(iteration):
    path = iteration / "samples.safetensors"
    tensors = load_file(path)
    del tensors["loss_mask"]
    save_file(tensors, path)


def with_other_counts(difference):
    def change(iteration):
        path = iteration / "rollouts.json"
        index = json.loads(path.read_text())
        index["groups"][0]["rollouts"][0]["samples"][1]["response_tokens"] += difference
        path.write_text(json.dumps(index))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        without_a_tensor,
        with_other_counts(1),
        with_other_counts(-1),
        without_samples,
        without("temperature"),
        without("top_p"),
        of_another_rollout,
        lambda iteration: (iteration / "rollouts.json").write_text("{"),
        lambda iteration: (iteration / "rollouts.json").write_text("[]"),
        lambda iteration: (iteration / "rollouts.json").unlink(),
        lambda iteration: (iteration / "samples.safetensors").unlink(),
    ],
)
def test_damage_is_one_line_that_names_the_iteration(folder, damage):
    damage(folder / "iteration_00001")
    with pytest.raises(ConfigError, match="iteration_00001 is damaged") as error:
        load_iteration(folder, 1)
    assert "\n" not in str(error.value)


def test_another_version_of_the_format_is_named(folder):
    path = folder / "iteration_00000" / "rollouts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(ConfigError, match="slime-rollouts version 2; this slime reads"):
        load_iteration(folder, 0)


def test_what_generation_gives_is_what_can_be_saved(tiny_engine, tiny_tokenizer, tmp_path):
    from slime.config.schema import LocalEngine, RolloutConfig
    from slime.rollout.generate import build_sampling, generate

    config = RolloutConfig(engine=LocalEngine(), samples_per_prompt=2)
    sampling = build_sampling(config, [], tiny_tokenizer)
    prompts = [Prompt(0, "1 + 1 =", "2"), Prompt(1, "2 + 2 =", "4")]
    generated = generate(tiny_engine, prompts, tiny_tokenizer, config, sampling, 0, 0)
    save_iteration(tmp_path, sampling, 0, generated)
    assert identical(load_iteration(tmp_path, 0), generated)
