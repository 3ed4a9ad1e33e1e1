"""The program that renders conversations with a model's chat template.

A template comes with the model and is a program.  It runs in transformers' sandbox, which keeps it
from Python but not from looping or from filling the memory; so it runs in a process that can be
ended, under limits of the kernel's own.  One JSON text a line, in and out; this file imports no
slime and is started by its path.

first line in:   {"template": text, "special_tokens": {name: text}}
then, each:      [{"role": text, "content": text}, ...]  ->  {"text": text} or {"refused": text}
"""

import json
import os
import resource
import signal
import sys

CPU_SECONDS = 5
MEMORY_BYTES = 1 << 30
MOST_CHARACTERS = 4 << 20


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this process
    from transformers.utils.chat_template_utils import render_jinja_template

    limit_memory()
    model = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        limit_time()
        try:
            [text] = render_jinja_template(
                conversations=[json.loads(line)],
                chat_template=model["template"],
                add_generation_prompt=True,
                **model["special_tokens"],
            )[0]
            answer = {"text": text} if len(text) <= MOST_CHARACTERS else {"refused": TOO_LONG}
        except MemoryError:
            answer = {"refused": f"it needs more than {MEMORY_BYTES} bytes of memory"}
        except Exception as refused:  # templates raise what they like
            answer = {"refused": (str(refused).splitlines() or [type(refused).__name__])[0][:500]}
        print(json.dumps(answer), flush=True)


TOO_LONG = f"it makes more than {MOST_CHARACTERS} characters of the messages"


def limit_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        most = int(file.read().split()[5]) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time() -> None:
    """The kernel ends this process when one conversation takes longer, whoever still waits."""
    times = os.times()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(times.user + times.system) + 1 + CPU_SECONDS, hard)
    )


if __name__ == "__main__":
    main()
