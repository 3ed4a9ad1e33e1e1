"""A model's chat template, rendered in a process of its own; see chat_process for why."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from slime.config.schema import ConfigError
from slime.model.chat_process import CPU_SECONDS, MEMORY_BYTES

_PROGRAM = Path(__file__).with_name("chat_process.py")


class ChatTemplate:
    """Starts its process with the first conversation; it ends with this object, or with us."""

    def __init__(self, template: str, special_tokens: Mapping[str, str]) -> None:
        self._model = {"template": template, "special_tokens": dict(special_tokens)}
        self._process: subprocess.Popen[str] | None = None

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text for a conversation, ready for the model's answer.

        Raises ConfigError when the template refuses the messages, or takes too long or too much.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps([dict(message) for message in messages]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process = None
            raise _refused(
                f"its process ended: it may take {CPU_SECONDS} s for a conversation, and "
                f"{MEMORY_BYTES >> 20} MiB"
            )
        found = json.loads(answer)
        if "refused" in found:
            raise _refused(found["refused"])
        text: str = found["text"]
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _refused(
                "what it makes of them is no text: it has half a surrogate pair"
            ) from None
        return text

    def _start(self) -> "subprocess.Popen[str]":
        # -P: what lies beside the program are not the modules that transformers imports.
        process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"},
            text=True,
            encoding="utf-8",
        )
        weakref.finalize(self, _end, process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._model) + "\n")
        return process


def _refused(reason: str) -> ConfigError:
    return ConfigError(f"task.path: the model's chat template refuses a line's messages ({reason})")


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
