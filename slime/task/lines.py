"""The lines of a JSONL task file, each with what is wrong with it.  Standard library only."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any

from slime.config.schema import ConfigError

Messages = list[dict[str, str]]

MOST_LINE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Example:
    """One line: a text, or a conversation that waits for the model's answer."""

    where: str  # config key, file and line, to begin a message with
    prompt: str | Messages
    answer: str
    response: str | None  # what a model should say to the prompt, word for word


def read_examples(key: str, path: Path) -> Iterator[Example]:
    """The examples of a file; empty lines are skipped.

    key: the config key that named the file.  Raises ConfigError with the file and the line number
    at the first line that is not one {"prompt", "answer"} or {"messages", "answer"} object, holds
    a text that UTF-8 cannot, an answer that is no finite number or a "response" that is no text.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise ConfigError(f"{key}: {path} {what}")
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                if len(line) > MOST_LINE_BYTES:
                    raise ConfigError(
                        f"{key}: {path} line {number}: has more than {MOST_LINE_BYTES} bytes, "
                        "which no prompt has"
                    )
                if line.strip():
                    yield _example(line, f"{key}: {path} line {number}:", first=number == 1)
    except OSError as unreadable:
        raise ConfigError(f"{key}: cannot read {path} ({unreadable.strerror})") from unreadable


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """No line is read further than it takes to see that it is too long."""
    return iter(partial(file.readline, MOST_LINE_BYTES + 1), b"")


def _example(line: bytes, where: str, *, first: bool) -> Example:
    try:
        values = json.loads(
            line.decode("utf-8-sig" if first else "utf-8"), object_pairs_hook=_object
        )
        if not isinstance(values, dict):
            raise ConfigError(f'{where} must be an object {{"prompt": ..., "answer": ...}}')
        return Example(
            where, _prompt(values, where), _answer(values, where), _response(values, where)
        )
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} not UTF-8 (byte {error.start + 1})") from None
    except UnicodeEncodeError:
        raise ConfigError(
            f"{where} has half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        ) from None
    except _TwiceError as error:
        raise ConfigError(f"{where} an object has the key {error} twice") from None
    except RecursionError:
        raise ConfigError(f"{where} lists or objects are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} not JSON ({error})") from None
    except ConfigError:
        raise
    except ValueError as error:  # a whole number of more digits than Python reads
        raise ConfigError(f"{where} {str(error).partition(';')[0]}") from None


class _TwiceError(Exception):
    """JSON leaves open which of two equal keys counts."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(_short(next(name for name in names if names.count(name) > 1)))
    return values


def _prompt(values: dict[str, Any], where: str) -> str | Messages:
    given = [name for name in ("prompt", "messages") if name in values]
    if len(given) != 1:
        found = "both" if given else f"neither, only {sorted(values)}"
        raise ConfigError(f'{where} must have either "prompt" or "messages", has {found}')
    prompt = values[given[0]]
    if isinstance(prompt, str) and given == ["prompt"]:
        if not prompt:
            raise ConfigError(f'{where} "prompt" is empty')
        prompt.encode()
        return prompt
    if isinstance(prompt, list):
        return _messages(prompt, where)
    wanted = "a text or a list of messages" if given == ["prompt"] else "a list of messages"
    raise ConfigError(f'{where} "{given[0]}" must be {wanted}, got {_short(prompt)}')


def _messages(messages: list[Any], where: str) -> Messages:
    if not messages:
        raise ConfigError(f"{where} the list of messages is empty")
    for place, message in enumerate(messages, start=1):
        if not (isinstance(message, dict) and _is_text(message, "role", "content")):
            raise ConfigError(
                f'{where} message {place} must be {{"role": text, "content": text}}, got '
                f"{_short(message)}"
            )
    json.dumps(messages, ensure_ascii=False).encode()
    return messages


def _is_text(message: dict[str, Any], *names: str) -> bool:
    return all(isinstance(message.get(name), str) for name in names)


def _answer(values: dict[str, Any], where: str) -> str:
    if "answer" not in values:
        raise ConfigError(f'{where} has no "answer"')
    answer = values["answer"]
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)):
        raise ConfigError(f'{where} "answer" must be a text or a number, got {_short(answer)}')
    if isinstance(answer, float):
        if not math.isfinite(answer):
            raise ConfigError(f'{where} "answer" must be a finite number, got {_short(answer)}')
        return format(Decimal(str(answer)), "f")  # as people write it: 0.0000001, not 1e-07
    text = str(answer)
    text.encode()
    return text


def _response(values: dict[str, Any], where: str) -> str | None:
    response = values.get("response")
    if response is None:
        return None
    if not isinstance(response, str) or not response:
        raise ConfigError(f'{where} "response" must be a text, got {_short(response)}')
    response.encode()
    return response


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "..."
