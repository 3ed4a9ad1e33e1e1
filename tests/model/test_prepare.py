import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from slime.config.schema import ConfigError, PathModel, TinyModel, TinyMoeModel
from slime.model.architecture import read_architecture
from slime.model.cache import cached_folder
from slime.model.fused import as_in_files
from slime.model.prepare import prepare_model
from slime.model.tiny import VOCABULARY


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_tiny_has_about_a_million_parameters():
    weights = load_file(prepare_model(TinyModel()) / "model.safetensors")
    assert 5e5 < sum(w.numel() for w in weights.values()) < 1.5e6


@pytest.mark.parametrize("kind", [TinyModel, TinyMoeModel])
def test_tiny_is_a_model_that_transformers_loads_completely(kind):
    from transformers import AutoModelForCausalLM

    folder = prepare_model(kind(hidden_size=32, layers=2))
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    stored, loaded = load_file(folder / "model.safetensors"), as_in_files(model.state_dict())
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in stored.items())


def test_tiny_moe_is_what_its_values_say():
    config = TinyMoeModel(experts=6, experts_per_token=3, layers=2)
    weights = load_file(prepare_model(config) / "model.safetensors")
    assert (
        5e5
        < sum(
            w.numel()
            for w in load_file(prepare_model(TinyMoeModel()) / "model.safetensors").values()
        )
        < 1.5e6
    )
    experts = read_architecture(prepare_model(config)).experts
    assert (experts.count, experts.per_token) == (6, 3)
    assert "model.layers.1.mlp.experts.5.up_proj.weight" in weights
    other = prepare_model(TinyMoeModel(experts=6, experts_per_token=2, layers=2))
    assert other != prepare_model(config)


def test_tiny_is_what_its_values_say():
    architecture = read_architecture(prepare_model(TinyModel(hidden_size=64, layers=3)))
    assert (architecture.hidden_size, architecture.layers) == (64, 3)
    assert architecture.vocabulary_size == len(VOCABULARY)


def test_tiny_depends_on_its_seed_and_on_nothing_else(cache):
    def weights(seed):
        return load_file(prepare_model(TinyModel(seed=seed)) / "model.safetensors")

    first, other = weights(0), weights(1)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    for folder in cache.iterdir():
        folder.rename(cache.parent / folder.name)
    again = weights(0)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_model_is_prepared_once():
    folder = prepare_model(TinyModel())
    (folder / "mark").touch()
    assert prepare_model(TinyModel()) == folder
    assert (folder / "mark").exists()
    assert prepare_model(TinyModel(seed=1)) != folder


def test_a_path_is_used_as_it_is(monkeypatch):
    folder = prepare_model(TinyModel())
    monkeypatch.chdir(folder.parent)
    assert prepare_model(PathModel(path=folder.name)) == folder.resolve()


def test_a_path_that_is_no_model_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ConfigError, match="gpt2"):
        prepare_model(PathModel(path=str(tmp_path)))


def test_a_failed_build_leaves_nothing_in_the_cache(cache):
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ConfigError("no network")

    with pytest.raises(ConfigError, match="no network"):
        cached_folder("model", fail)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_folder_is_visible_only_when_it_is_whole(cache):
    def build(folder: Path) -> None:
        assert not (cache / "model").exists()
        (folder / "weights").touch()

    assert (cached_folder("model", build) / "weights").exists()


def test_threads_of_one_process_wait_for_each_other():
    entered = []
    building, go_on = threading.Event(), threading.Event()

    def build(folder: Path) -> None:
        entered.append(folder)
        building.set()
        go_on.wait(30)

    both = [threading.Thread(target=cached_folder, args=("model", build)) for _ in range(2)]
    both[0].start()
    assert building.wait(30)
    both[1].start()
    go_on.set()
    for thread in both:
        thread.join()
    assert len(entered) == 1


def _prepare(start, results):
    start.wait()
    results.put(str(prepare_model(TinyModel())))


def test_two_processes_may_prepare_the_same_model_at_once(cache):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    both = [context.Process(target=_prepare, args=(start, results)) for _ in range(2)]
    for process in both:
        process.start()
    folders = {results.get(timeout=120) for _ in both}
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert folders == {str(prepare_model(TinyModel()))}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_cache_that_cannot_be_written_is_one_line_with_a_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLIME_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="SLIME_CACHE") as error:
        prepare_model(TinyModel())
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_with_a_way_out():
    def fill(_: Path) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(ConfigError, match=r"No space left.*SLIME_CACHE"):
        cached_folder("model", fill)
