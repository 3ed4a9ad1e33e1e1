"""Text to token ids and back, as the model in a folder was taught to read."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slime.config.schema import ConfigError
from slime.model.chat import ChatTemplate
from slime.reading import read_json


class Tokenizer:
    """A Hugging Face tokenizer behind the few calls that slime makes."""

    def __init__(self, tokenizer: Any, end_token_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self.end_token_ids = end_token_ids  # any of them ends a response by the model's own will
        self._first = _first_token(tokenizer)
        self._chat = _chat_template(tokenizer)

    def encode(self, text: str) -> list[int]:
        """A prompt's tokens.

        The model's begin token comes first if its tokenizer says so, once: a chat template may have
        written it already.  An end token is never added.
        """
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if self._first and tokens[:1] != self._first:
            return self._first + tokens
        return tokens

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text the model is given for a conversation, ready for its answer.

        Raises ConfigError when the tokenizer has no chat template or it refuses the messages.
        """
        if self._chat is None:
            raise ConfigError(
                "task.path: the file has chat messages but the model's tokenizer has no chat "
                'template: write {"prompt": text, ...} lines or choose a chat model'
            )
        return self._chat.render(messages)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens` without special tokens."""
        text: str = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def encode_response(self, prompt: str, response: str) -> list[int]:
        """The tokens of `response` as it follows `prompt`, whose own tokens stay what they are.

        It is read where it stands: SentencePiece models put a space before a text that stands
        alone.  A text whose beginning would merge with the prompt's end is read alone.
        """
        return self._after(prompt, response) or self._alone(response)

    def closing_token(self, texts: Sequence[str]) -> int:
        """What a response in a text ends with: the first of `texts`, else the model's end token.

        Raises ConfigError when there is neither.
        """
        if texts:
            return self._single_token(texts[0])[0]
        own = self._tokenizer.eos_token_id
        if own is not None:
            return int(own)
        if self.end_token_ids:
            return min(self.end_token_ids)
        raise ConfigError(
            "task.stop_tokens: the model names no end token, so one that ends every demonstration "
            "must stand here"
        )

    @property
    def largest_token(self) -> int | None:
        """Of all that its vocabulary names, what was added included."""
        ids: Iterable[int] = self._tokenizer.get_vocab().values()
        return max(ids, default=None)

    @property
    def end_texts(self) -> list[str]:
        """The model's own end tokens as they are written in a text."""
        texts: list[str] = self._tokenizer.convert_ids_to_tokens(sorted(self.end_token_ids))
        return texts

    def stop_token_ids(self, texts: Iterable[str]) -> frozenset[int]:
        """The ids that end a rollout: the model's own end tokens and those of `texts`.

        Raises ConfigError naming each text of task.stop_tokens that is not a single token.
        """
        ids, wrong = set(self.end_token_ids), []
        for text in texts:
            tokens = self._single_token(text)
            if len(tokens) == 1:
                ids.update(tokens)
            else:
                pieces = self._tokenizer.convert_ids_to_tokens(tokens)
                wrong.append(
                    f"task.stop_tokens: {text!r} is {len(tokens)} tokens for this model "
                    f"({pieces}), it must be one"
                )
        if wrong:
            raise ConfigError("\n".join(wrong))
        return frozenset(ids)

    def _single_token(self, text: str) -> list[int]:
        """A text that is an entry of the vocabulary is that token, however it would be split."""
        entry = self._tokenizer.get_vocab().get(text)
        if entry is not None:
            return [entry]
        alone, within = self._alone(text), self._after("a", text)
        return within if len(within) == 1 else alone

    def _alone(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def _after(self, before: str, text: str) -> list[int]:
        """The tokens of `text` after another text; [] if they cannot be told from that one's.

        SentencePiece models put a space before a text that stands alone: a line end is two tokens
        there, but one inside a text.
        """
        first, both = self._alone(before), self._alone(before + text)
        return both[len(first) :] if both[: len(first)] == first else []


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, offline and without running code from it.

    Raises ConfigError when it cannot be read.
    """
    from transformers import AutoTokenizer

    from slime.model.quiet import quiet_transformers

    quiet_transformers()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as unreadable:  # transformers and tokenizers raise many kinds
        reason = str(unreadable).strip().splitlines()
        raise ConfigError(
            f"model.path: cannot read the tokenizer in {folder} "
            f"({reason[0] if reason else type(unreadable).__name__})"
        ) from unreadable
    return Tokenizer(tokenizer, _end_token_ids(folder, tokenizer))


def _first_token(tokenizer: Any) -> list[int]:
    """[begin token] if the tokenizer puts one before a text, else []."""
    begin = tokenizer.bos_token_id
    with_special = tokenizer.encode("a", add_special_tokens=True)
    without = tokenizer.encode("a", add_special_tokens=False)
    return [begin] if with_special[:1] == [begin] and without[:1] != [begin] else []


def _chat_template(tokenizer: Any) -> ChatTemplate | None:
    if not tokenizer.chat_template:
        return None
    return ChatTemplate(tokenizer.get_chat_template(), tokenizer.special_tokens_map)


def _end_token_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Chat models end a turn and a text with different tokens, written in different files."""
    ids: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if path.is_file():
            ids.update(_ids_in(path))
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return frozenset(ids)


def _ids_in(path: Path) -> list[int]:
    try:
        value = read_json(path).get("eos_token_id")
    except (OSError, ValueError, AttributeError) as broken:
        reason = str(broken).splitlines()[0]
        raise ConfigError(f"model.path: {path} is not a readable JSON object: {reason}") from None
    found = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(one) is int for one in found):
        raise ConfigError(f"model.path: {path}: eos_token_id must be token ids, got {value!r:.60}")
    return found
