"""A model folder from elsewhere: weights, settings, tokenizer and chat template."""

import contextlib
import json
import os
import struct
import sys

import pytest
import safetensors.torch
import torch
from tiny_models import tiny_weights, write_tiny_model
from tokenizers import Tokenizer as Fast
from tokenizers.models import WordLevel

from slime.config.schema import ConfigError, PathModel
from slime.megatron.weights_folder import open_weights
from slime.model.check import problems
from slime.model.tokenizer import load_tokenizer
from slime.rollout.local import LocalEngine


@pytest.fixture
def folder(tmp_path):
    folder = write_tiny_model(tmp_path / "model", "llama")
    write_tokenizer(folder)
    assert list(problems(PathModel(path=str(folder)))) == []
    return folder


def write_tokenizer(folder, **settings):
    words = {word: i for i, word in enumerate(["[UNK]", "</s>", "a", "b"])}
    Fast(WordLevel(words, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def refused(folder):
    lines = list(problems(PathModel(path=str(folder))))
    assert all(line.startswith("model.path: ") and "\n" not in line for line in lines)
    return lines


# ---- weights ----


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_and_beside_safetensors_not_read(name, folder, trap):
    (folder / name).write_bytes(trap.pickled)
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"weight_map": {"model.norm.weight": name}})
    )
    assert refused(folder) == []
    with open_weights(folder) as weights:
        assert len(weights.names()) > 10
    LocalEngine(str(folder), 1)
    (folder / "model.safetensors").unlink()
    [line] = refused(folder)
    assert "has no *.safetensors file" in line
    with pytest.raises(ConfigError, match="never from pickle files"), open_weights(folder):
        pass
    with pytest.raises(OSError, match="safetensors"):
        LocalEngine(str(folder), 1)


def test_pickled_weights_under_another_name_are_refused(folder, trap):
    (folder / "model.safetensors").write_bytes(trap.pickled)
    with (
        pytest.raises(ConfigError, match=r"model\.safetensors cannot be read"),
        open_weights(folder),
    ):
        pass


def header(tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def entry(shape=(2, 2), start=0, end=16, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LIES = {
    "beyond the file": header({"a": entry()}) + b"\0" * 8,
    "far beyond": header({"a": entry((1 << 40,), 0, 1 << 42)}),
    "overlap": header({"a": entry(), "b": entry(start=8, end=24)}) + b"\0" * 24,
    "a hole": header({"a": entry(), "b": entry(start=32, end=48)}) + b"\0" * 48,
    "backwards": header({"a": entry(start=16, end=0)}) + b"\0" * 16,
    "shape": header({"a": entry((2, 3))}) + b"\0" * 16,
    "overflow": header({"a": entry((1 << 62, 1 << 62))}) + b"\0" * 16,
    "negative": header({"a": entry((-2, -2))}) + b"\0" * 16,
    "dtype": header({"a": entry(dtype="F64")}) + b"\0" * 16,
    "no dtype": header({"a": entry(dtype="PICKLE")}) + b"\0" * 16,
    "rest": header({"a": entry()}) + b"\0" * 99,
    "huge header": struct.pack("<Q", 1 << 63) + b"{}",
    "long header": struct.pack("<Q", 1 << 30) + b"{}",
    "deep header": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "no header": b"\0" * 8,
    "empty": b"",
    "no JSON": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused(content, folder):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError) as caught, open_weights(folder):
        pass
    line = str(caught.value)
    assert line.startswith(f"model.path: {folder}/model.safetensors cannot be read: ")
    assert "\n" not in line


NAMES = ["../other.safetensors", "/etc/passwd", "sub/x.safetensors", "pytorch_model.bin", 5, "",
         None, ["x"], "a\nb.safetensors"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_an_index_names_files_of_its_own_folder_only(name, folder):
    (folder / "sub").mkdir()
    for other in (folder.parent / "other.safetensors", folder / "sub" / "x.safetensors"):
        safetensors.torch.save_file(tiny_weights("llama"), other)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    [line] = refused(folder)
    assert str(index) in line
    with pytest.raises(ConfigError, match=r"^model\.path: .*index"), open_weights(folder):
        pass


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"weight_map": 1}', "\xff"], ids=repr)
def test_an_index_that_is_none_is_one_line(text, folder):
    (folder / "model.safetensors.index.json").write_bytes(text.encode("latin-1"))
    [line] = refused(folder)
    assert "is not a readable index of weights" in line


# ---- settings ----

CODE = "import os\nos.mkdir({target!r})\nclass Config: pass\nclass Model: pass\nclass Words: pass\n"
AUTO = {
    "AutoConfig": "evil.Config",
    "AutoModelForCausalLM": "evil.Model",
    "AutoTokenizer": ["evil.Words", "evil.Words"],
}


def test_code_in_the_folder_is_not_imported(folder, trap):
    (folder / "evil.py").write_text(CODE.format(target=str(trap.target)))
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": AUTO, "trust_remote_code": True, "custom_pipelines": AUTO}
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, auto_map=AUTO, trust_remote_code=True)
    assert refused(folder) == []
    assert load_tokenizer(folder).encode("a")
    LocalEngine(str(folder), 1)
    assert not any("evil" in name for name in sys.modules)


def test_a_tokenizer_that_is_only_code_is_refused(folder, trap):
    (folder / "evil.py").write_text(CODE.format(target=str(trap.target)))
    (folder / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "Words", "auto_map": AUTO}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert any("has no tokenizer.json" in line for line in refused(folder))
    with pytest.raises(ConfigError, match="cannot read the tokenizer"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
def test_attention_is_not_downloaded(key, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: "evil/kernel:run"}))
    [line] = refused(folder)
    assert f"config.json: {key} is 'evil/kernel:run', which can name code to run" in line


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transformers_weights", "evil.safetensors.index.json"),
        ("transformers_weights", "../other.safetensors"),
        ("transformers_weights", ["x"]),
        ("configuration_files", ["config.4.0.0.json"]),
        ("per_layer_config", {"0": {"hidden_size": 1}}),
    ],
)
def test_transformers_reads_no_other_files_than_slime(field, value, folder, trap):
    (folder / "pytorch_model.bin").write_bytes(trap.pickled)
    names = dict.fromkeys(tiny_weights("llama"), "pytorch_model.bin")
    (folder / "evil.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    [line] = refused(folder)
    assert f"config.json: {field} is " in line
    assert "which only transformers reads: drop it" in line


@pytest.mark.parametrize("field", ["num_labels", "id2label"])
def test_a_language_model_has_no_millions_of_labels(field, folder):
    values = {"num_labels": [3_000_000, -1, "x", True, 1e9], "id2label": [LABELS]}[field]
    config = json.loads((folder / "config.json").read_text())
    for value in values:
        (folder / "config.json").write_text(json.dumps(config | {field: value}))
        [line] = refused(folder)
        assert "num_labels or id2label is for more than 10000 labels" in line


LABELS = {str(n): "a" for n in range(20_000)}


def make_folder(path):
    path.mkdir()


def make_pipe(path):
    os.mkfifo(path)


def make_loop(path):
    path.symlink_to(path)


def make_dangling(path):
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_loop, make_dangling])
@pytest.mark.parametrize("name", ["model.safetensors", "x.safetensors"])
def test_weights_that_are_no_file_are_one_line(make, name, folder):
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    [line] = refused(folder)
    assert line.startswith(f"model.path: {folder / name} is not a file")


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_loop, make_dangling])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_nor_are_settings(make, name, folder):
    (folder / name).unlink()
    make(folder / name)
    [line] = refused(folder)
    assert f"has no {name}" in line


def test_shards_that_only_transformers_reads_are_refused(folder):
    name = "shard-00001-model-00001-of-00001.safetensors"
    (folder / name).write_bytes((folder / "model.safetensors").read_bytes())
    [line] = refused(folder)
    assert f"{name} is a shard that only transformers reads" in line


def test_an_adapter_does_not_stand_for_another_model(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    [line] = refused(folder)
    assert "has an adapter_config.json" in line


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "\xff", '{"a": 1' + "0" * 9999 + "}"])
def test_settings_that_are_no_plain_json_are_one_line(text, folder):
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).write_bytes(text.encode("latin-1"))
        if name == "config.json":
            assert any("config.json" in line for line in refused(folder))
        elif name == "generation_config.json" or text != "[]":
            with pytest.raises(ConfigError) as caught:
                load_tokenizer(folder)
            assert "\n" not in str(caught.value)
        (folder / name).unlink()
        if before is not None:
            (folder / name).write_bytes(before)


def test_weights_of_another_dtype_become_the_model_s(folder):
    """A dtype runs nothing: it is converted, as transformers does."""
    weights = {n: t.to(torch.float16) for n, t in tiny_weights("llama").items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    assert LocalEngine(str(folder), 1)._model.dtype == torch.float32


# ---- chat template ----

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.mkdir('TARGET') }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').mkdir('TARGET') }}",
    "{{ ''|attr('__cla' ~ 'ss__')|attr('__mro__') }}",
    "{{ lipsum.__globals__['os'].mkdir('TARGET') }}",
    "{{ ('{0.__class__.__init__.__globals__}'.format)(raise_exception) }}",
    "{{ [messages]|map('attr', '__class__')|first }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['os'].mkdir('TARGET') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.mkdir('TARGET') }}",
]
BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set x = 10 ** (10 ** 9) %}",
    "{{ 'x' * 100000000000 }}",
    "{{ 'x'.center(99999999999) }}",
    "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
]
MESSAGES = [{"role": "user", "content": "a"}]


def render(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    return load_tokenizer(folder).render_chat(MESSAGES)


@pytest.mark.parametrize("template", ESCAPES)
def test_a_chat_template_does_not_get_out_of_its_sandbox(template, folder, trap):
    with contextlib.suppress(ConfigError):
        text = render(folder, template.replace("TARGET", str(trap.target)))
        assert not any(word in text for word in ("class", "globals", "builtins", "root:"))


@pytest.mark.parametrize("template", BOMBS)
def test_a_chat_template_that_takes_too_much_is_refused(template, folder):
    with pytest.raises(ConfigError) as caught:
        render(folder, template)
    assert str(caught.value).startswith(
        "task.path: the model's chat template refuses a line's messages ("
    )
    assert "\n" not in str(caught.value)


def test_a_chat_template_that_makes_no_text_is_refused(folder):
    with pytest.raises(ConfigError, match="half a surrogate pair") as caught:
        render(folder, r"{{ '\ud800' }}")
    assert "\n" not in str(caught.value)


def test_after_a_conversation_that_was_refused_the_next_one_is_rendered(folder):
    (folder / "chat_template.jinja").write_text(
        "{% if messages[0].content == 'bomb' %}{{ 'x' * 10 ** 12 }}{% endif %}"
        "{% if messages[0].content == 'loop' %}{% for a in range(99999) %}"
        "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
        "<{{ messages[0].content }}>{{ eos_token }}"
    )
    tokenizer = load_tokenizer(folder)
    for bad in ("bomb", "loop"):
        with pytest.raises(ConfigError):
            tokenizer.render_chat([{"role": "user", "content": bad}])
        assert tokenizer.render_chat(MESSAGES) == "<a></s>"
