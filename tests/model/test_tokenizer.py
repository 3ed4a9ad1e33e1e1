import json
import shutil

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import ConfigError, TinyModel
from slime.model.tiny import CHARACTERS, END, SPECIAL_TOKENS, write_tiny_model
from slime.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_model(TinyModel(hidden_size=16, layers=1), folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


@pytest.fixture
def copy(folder, tmp_path):
    """A copy to change, and the tokenizer of the changed folder."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)

    def change(name, **values):
        path = tmp_path / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        return load_tokenizer(tmp_path)

    return change


def has_no_special_token(text):
    return not any(special in text for special in SPECIAL_TOKENS)


@given(st.text(alphabet=CHARACTERS).filter(has_no_special_token))
def test_tiny_text_is_a_token_a_character_and_comes_back(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert len(tokens) == len(text)
    assert tokenizer.decode(tokens) == text


def test_special_tokens_are_not_in_the_text(tokenizer):
    assert tokenizer.decode(tokenizer.encode(f"14{END}")) == "14"
    assert len(tokenizer.encode(f"14{END}")) == 3


def test_end_tokens_come_from_every_file_that_names_some(copy):
    tokenizer = copy("generation_config.json", eos_token_id=[0, 4])
    assert tokenizer.end_token_ids == {0, 4}
    tokenizer = copy("config.json", eos_token_id=5)
    assert tokenizer.end_token_ids == {0, 4, 5}


def test_stop_tokens_are_added_to_the_models_own(tokenizer):
    newline = tokenizer.encode("\n")[0]
    assert tokenizer.stop_token_ids(["\n"]) == {0, newline}
    assert tokenizer.stop_token_ids([]) == tokenizer.end_token_ids == {0}
    assert tokenizer.stop_token_ids(["<|user|>"]) == {0, *tokenizer.encode("<|user|>")}


def test_a_stop_text_of_several_tokens_is_named_with_them(tokenizer):
    with pytest.raises(ConfigError) as error:
        tokenizer.stop_token_ids(["\n", "ab", ""])
    first, second = str(error.value).splitlines()
    assert first.startswith("task.stop_tokens: 'ab' is 2 tokens")
    assert "['a', 'b']" in first
    assert "'' is 0 tokens" in second


@pytest.fixture
def sentence_piece(folder, tmp_path):
    """Made as Llama 2's is: a space before every text, and bytes for what is not in it."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    pieces = [END, "<|pad|>", "<|unknown|>", "\u2581", "a", "b", "\u2581a", "<0x09>", "<0x0A>"]
    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            ids, [("\u2581", "a")], unk_token="<|unknown|>", byte_fallback=True, fuse_unk=True
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.Sequence(
        [
            tokenizers.normalizers.Prepend("\u2581"),
            tokenizers.normalizers.Replace(" ", "\u2581"),
        ]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return load_tokenizer(tmp_path)


def test_a_line_end_is_one_token_where_every_text_starts_with_a_space(sentence_piece):
    alone = sentence_piece._tokenizer.encode("\n", add_special_tokens=False)
    assert sentence_piece._tokenizer.convert_ids_to_tokens(alone) == ["\u2581", "<0x0A>"]
    assert sentence_piece.stop_token_ids(["\n"]) == {0, 8}
    assert sentence_piece.stop_token_ids(["\n", "\t", "b"]) == {0, 5, 7, 8}
    with pytest.raises(ConfigError, match=r"'\\n\\n' is 3 tokens"):
        sentence_piece.stop_token_ids(["\n\n"])


def test_a_response_is_read_as_it_follows_its_prompt(tokenizer, sentence_piece):
    assert tokenizer.encode_response("2 + 2 =", " 4") == tokenizer.encode(" 4")
    assert sentence_piece.encode("a") == [6]
    assert sentence_piece.encode_response("a", "b") == [5]  # alone: a space and b
    assert sentence_piece.encode_response("a", " a") == [6]


def test_a_response_that_would_merge_with_its_prompt_is_read_alone(sentence_piece):
    """A space and a are one token, but a prompt's tokens are what the model is given."""
    assert sentence_piece.encode_response(" ", "a") == sentence_piece.encode("a")


def test_a_response_never_starts_with_a_begin_token(copy):
    tokenizer = copy("tokenizer_config.json", bos_token="<|system|>")
    assert tokenizer.encode_response("1 =", " 2") == tokenizer.encode(" 2")[-2:]


def test_a_demonstration_ends_with_the_first_stop_token_of_the_task_else_the_models_own(copy):
    tokenizer = copy("generation_config.json", eos_token_id=[4, 0])
    assert tokenizer.closing_token(["\n", "a"]) == tokenizer.encode("\n")[0]
    assert tokenizer.closing_token([]) == 0  # the tokenizer's own of the two
    assert tokenizer.end_texts == [END, "<|user|>"]


def test_without_any_end_token_a_demonstration_needs_a_stop_token(copy):
    for name in ("config.json", "generation_config.json"):
        copy(name, eos_token_id=None)
    tokenizer = copy("tokenizer_config.json", eos_token=None)
    with pytest.raises(ConfigError, match=r"task\.stop_tokens: the model names no end token"):
        tokenizer.closing_token([])
    assert tokenizer.closing_token(["\n"]) == tokenizer.encode("\n")[0]


def test_a_chat_is_rendered_up_to_where_the_model_answers(tokenizer):
    messages = [{"role": "system", "content": "add"}, {"role": "user", "content": "1 + 1"}]
    text = tokenizer.render_chat(messages)
    assert text == "<|system|>add<|end|><|user|>1 + 1<|end|><|assistant|>"


def test_a_chat_without_a_template_is_an_error(copy):
    tokenizer = copy("tokenizer_config.json", chat_template=None)
    with pytest.raises(ConfigError, match="no chat template"):
        tokenizer.render_chat([{"role": "user", "content": "hi"}])


def test_a_template_that_refuses_is_an_error_with_its_words(copy):
    refusal = "{{ raise_exception('roles must alternate') }}"
    tokenizer = copy("tokenizer_config.json", chat_template=refusal)
    with pytest.raises(ConfigError, match="roles must alternate"):
        tokenizer.render_chat([{"role": "user", "content": "hi"}])


def test_a_begin_token_is_put_first_once_and_no_end_token_is_added(copy, tmp_path):
    copy("tokenizer_config.json", bos_token="<|system|>")
    path = tmp_path / "tokenizer.json"
    values = json.loads(path.read_text())
    special = {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in ((END, 0), ("<|system|>", 3))}
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|system|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": END, "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    path.write_text(json.dumps(values))
    tokenizer = load_tokenizer(tmp_path)
    letter = load_tokenizer(tmp_path)._tokenizer.encode("a", add_special_tokens=False)
    assert tokenizer.encode("a") == [3, *letter]
    assert tokenizer.encode("<|system|>a") == [3, *letter]


def test_an_unreadable_tokenizer_is_one_line(tmp_path, folder):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot read the tokenizer") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)
