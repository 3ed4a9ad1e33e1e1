"""A task file from elsewhere: one line that says what is wrong, soon, in little memory."""

import resource

import pytest

from slime.config.schema import JsonlTask
from slime.task.check import accept, problems
from slime.task.lines import MOST_LINE_BYTES

GOOD = b'{"prompt": "a", "answer": 1}\n'
FILES = {
    "deep lists": (b"[" * 10_000_000, "line 1: lists or objects are nested too deeply"),
    "deep objects": (b'{"a":' * 1_000_000, "line 1: lists or objects are nested too deeply"),
    "deep answer": (
        b'{"prompt": "a", "answer": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "line 1: lists or objects are nested too deeply",
    ),
    "many digits": (
        b'{"prompt": "a", "answer": 1' + b"0" * 1_000_000 + b"}",
        "line 1: Exceeds the limit (4300 digits) for integer string conversion",
    ),
    "great exponent": (b'{"prompt": "a", "answer": 1e999999999}', "must be a finite number"),
    "not UTF-8": (b'{"prompt": "\xff\xfe", "answer": 1}', "line 1: not UTF-8 (byte 13)"),
    "UTF-16": ('{"prompt": "a", "answer": 1}'.encode("utf-16"), "line 1: not UTF-8 (byte 1)"),
    "zeros": (b"\0" * 1000, "line 1: not JSON"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_a_hostile_line_is_refused(content, message, tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_bytes(content)
    [line] = problems(JsonlTask(path=str(path)), accept)
    assert line.startswith(f"task.path: {path} ")
    assert message in line
    assert "\n" not in line


def test_a_line_of_a_gibibyte_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "task.jsonl"
    with path.open("wb") as file:
        file.write(GOOD + b'{"prompt": "')
        file.truncate(1 << 30)  # a hole: no room on the disk, zeros for the reader
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [line] = problems(JsonlTask(path=str(path)), accept)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert line == (
        f"task.path: {path} line 2: has more than {MOST_LINE_BYTES} bytes, which no prompt has"
    )
    assert grown < 4 * MOST_LINE_BYTES


def test_what_is_no_file_is_not_opened():
    [line] = problems(JsonlTask(path="/dev/zero"), accept)
    assert line == "task.path: /dev/zero does not exist"
