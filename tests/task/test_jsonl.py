import json
from collections import Counter

import pytest

from slime.config.schema import ConfigError, JsonlTask
from slime.task import build_task, check
from slime.task.check import accept


def problems(config, judge=accept):
    return list(check.problems(config, judge))


def render_chat(messages):
    return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="data.jsonl"):
        path = tmp_path / name
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return str(path)

    return write


def numbered(count, first=0):
    return [{"prompt": f"q{i}", "answer": str(i)} for i in range(first, first + count)]


def task(path, seed=0, evaluation_path=None):
    config = JsonlTask(path=path, evaluation_path=evaluation_path)
    return build_task(config, seed, render_chat)


def test_every_line_that_is_not_held_out_comes_once_an_epoch(write):
    a_task = task(write(*numbered(20)))
    drawn = [p for iteration in range(12) for p in a_task.prompts(iteration, 3)]
    held_out = {"q9", "q19"}
    for epoch in (drawn[:18], drawn[18:]):
        assert {p.text for p in epoch} == {f"q{i}" for i in range(20)} - held_out
    assert [p.text for p in drawn[:18]] != [p.text for p in drawn[18:]]
    assert len({p.id for p in drawn}) == 36
    assert all(p.answer == p.text[1:] for p in drawn)


def test_a_demonstration_is_the_response_of_a_line_else_its_answer(write):
    lines = [{**line, "response": f"It is {line['answer']}."} for line in numbered(3)]
    lines += [{**line, "response": None} for line in numbered(3, first=3)]
    path = write(*lines, *numbered(3, first=6))
    a_task = task(path, evaluation_path=write(*numbered(1, first=50), name="held.jsonl"))
    demonstrations = a_task.demonstrations(2, 4)
    assert [each.prompt for each in demonstrations] == a_task.prompts(2, 4)
    whole = {each.prompt.text: each for each in a_task.demonstrations(0, 9)}
    assert [whole[f"q{i}"].response for i in (0, 2, 3, 8)] == ["It is 0.", "It is 2.", "3", "8"]
    assert whole["q4"].where == f"task.path: {path} line 5:"


def test_the_longest_demonstrations_are_those_that_are_trained_on(write):
    path = write(*numbered(9), {"prompt": "held", "answer": "1", "response": "no" * 99})
    responses = {each.response for each in task(path).longest_demonstrations()}
    assert responses == {str(i) for i in range(9)}


def test_the_order_depends_on_the_seed_alone(write):
    path = write(*numbered(40))
    assert task(path, seed=1).prompts(2, 8) == task(path, seed=1).prompts(2, 8)
    assert task(path, seed=1).prompts(2, 8) != task(path, seed=2).prompts(2, 8)


def test_every_tenth_line_is_held_out_for_every_seed(write):
    path = write(*numbered(35))
    for seed in (0, 1):
        assert [p.text for p in task(path, seed).held_out(96)] == ["q9", "q19", "q29"]
    assert [p.text for p in task(path).held_out(2)] == ["q9", "q19"]


def test_an_evaluation_file_takes_the_place_of_held_out_lines(write):
    path, evaluation = write(*numbered(3)), write(*numbered(4, first=50), name="held.jsonl")
    a_task = task(path, evaluation_path=evaluation)
    assert [p.text for p in a_task.held_out(9)] == ["q50", "q51", "q52", "q53"]
    assert Counter(p.text for p in a_task.prompts(0, 6)) == {"q0": 2, "q1": 2, "q2": 2}


def test_a_line_that_repeats_a_held_out_prompt_is_not_trained_on(write):
    path = write(*numbered(9), {"prompt": "q3", "answer": "3"})
    assert [p.text for p in task(path).held_out(5)] == ["q3"]
    assert "q3" not in {p.text for p in task(path).prompts(0, 16)}


def test_a_file_in_which_everything_is_held_out_is_an_error(write):
    path = write(*numbered(2))
    with pytest.raises(ConfigError, match="nothing is left"):
        task(path, evaluation_path=path)


def test_messages_are_rendered_under_either_name(write):
    messages = [{"role": "user", "content": "1 + 1"}]
    path = write(
        {"messages": messages, "answer": 2},
        {"prompt": messages, "answer": "2"},
    )
    a_task = task(path, evaluation_path=write(*numbered(1), name="held.jsonl"))
    assert {(p.text, p.answer) for p in a_task.prompts(0, 2)} == {("<user>1 + 1<assistant>", "2")}
    assert {p.text for p in a_task.longest()} == {"<user>1 + 1<assistant>", "q0"}


def test_empty_lines_and_a_byte_order_mark_are_no_mistakes(write):
    path = write("\ufeff" + json.dumps({"prompt": "é", "answer": "ü"}), "", *numbered(10))
    assert ("é", "ü") in {(p.text, p.answer) for p in task(path).prompts(0, 10)}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("3", "must be an object"),
        ({"answer": "1"}, 'either "prompt" or "messages", has neither'),
        ({"prompt": "a", "messages": [], "answer": "1"}, "has both"),
        ({"prompt": "a"}, 'has no "answer"'),
        ({"prompt": 3, "answer": "1"}, '"prompt" must be a text'),
        ({"prompt": "", "answer": "1"}, '"prompt" is empty'),
        ({"messages": "hi", "answer": "1"}, '"messages" must be a list'),
        ({"messages": [], "answer": "1"}, "list of messages is empty"),
        ({"messages": [{"role": "user"}], "answer": "1"}, "message 1 must be"),
        ({"prompt": "a", "answer": None}, '"answer" must be a text or a number, got null'),
        ({"prompt": "a", "answer": True}, '"answer" must be a text or a number, got true'),
        ('{"prompt": "a", "answer": NaN}', '"answer" must be a finite number, got NaN'),
        ('{"prompt": "a", "answer": -Infinity}', "must be a finite number, got -Infinity"),
        ('{"prompt": "a", "answer": 1e999}', "must be a finite number, got Infinity"),
        ('{"prompt": "a", "answer": ' + "1" * 5000 + "}", "Exceeds the limit (4300 digits)"),
        ('{"prompt": "\\ud800", "answer": "1"}', "half of a surrogate pair"),
        ('{"prompt": "a", "answer": "\\udfff"}', "half of a surrogate pair"),
        (
            '{"prompt": [{"role": "user", "content": "\\ud800"}], "answer": "1"}',
            "half of a surrogate pair",
        ),
        ('{"prompt": ["\\ud800"], "answer": "1"}', "message 1 must be"),
        ('{"prompt": "a", "answer": "1", "answer": "2"}', 'an object has the key "answer" twice'),
        (
            '{"messages": [{"role": "user", "role": "x", "content": "a"}], "answer": "1"}',
            'an object has the key "role" twice',
        ),
        ({"prompt": "a", "answer": "1", "response": 1}, '"response" must be a text, got 1'),
        ({"prompt": "a", "answer": "1", "response": ""}, '"response" must be a text, got ""'),
        ({"prompt": "a", "answer": "1", "response": ["b"]}, '"response" must be a text'),
        ('{"prompt": "a", "answer": "1", "response": "\\udfff"}', "half of a surrogate pair"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"prompt": "a", "answer": ' + "[" * 100_000 + "}", "nested too deeply"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_number(write, line, said):
    path = write(*numbered(2), line, *numbered(10))
    [problem] = problems(JsonlTask(path=path))
    assert problem.startswith(f"task.path: {path} line 3: ")
    assert said in problem
    assert "\n" not in problem
    assert problem.encode()  # it can be printed
    with pytest.raises(ConfigError, match="line 3"):
        task(path)


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("1e-7", "0.0000001"),
        ("1e20", "100000000000000000000"),
        ("-2.5E3", "-2500.0"),
        ("14.0", "14.0"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_a_number_is_an_answer_in_plain_digits(write, written, answer):
    path = write(f'{{"prompt": "a", "answer": {written}}}')
    [prompt] = task(path, evaluation_path=write(*numbered(1), name="held.jsonl")).prompts(0, 1)
    assert prompt.answer == answer


def test_a_whole_surrogate_pair_is_a_character(write):
    path = write('{"prompt": "\\ud83d\\ude00", "answer": "1"}', *numbered(9))
    assert "\U0001f600" in {p.text for p in task(path).prompts(0, 9)}


def test_an_answer_that_can_never_be_right_is_named_with_its_line(write):
    def judge(answer):
        return f"{answer} is wrong" if answer in "79" else None

    path, held_out = write(*numbered(20)), write(*numbered(8), name="held.jsonl")
    assert problems(JsonlTask(path=path, evaluation_path=held_out), judge) == [
        f"task.path: {path} line 8: 7 is wrong",
        f"task.evaluation_path: {held_out} line 8: 7 is wrong",
    ]


def test_messages_of_which_a_template_makes_nothing_are_named_with_their_line(write):
    path = write({"messages": [{"role": "user", "content": "hi"}], "answer": "1"}, *numbered(10))
    mute = build_task(JsonlTask(path=path), 0, lambda _: "")
    with pytest.raises(ConfigError, match=r"task\.path: .* line 1: .*empty text"):
        list(mute.longest())


def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"prompt": "a", "answer": "b"}\n{"prompt": "\xe9", "answer": "b"}\n')
    [problem] = problems(JsonlTask(path=str(path)))
    assert "line 2: not UTF-8" in problem


def test_missing_empty_and_short_files_are_told_apart(write, tmp_path):
    def problem(path):
        [found] = problems(JsonlTask(path=path))
        return found

    assert "does not exist" in problem(str(tmp_path / "nowhere.jsonl"))
    assert "is a folder" in problem(str(tmp_path))
    assert "is empty" in problem(write())
    assert "has 9 lines, too few" in problem(write(*numbered(9)))
    assert list(problems(JsonlTask(path=write(*numbered(10))))) == []


def test_both_files_are_checked(write, tmp_path):
    config = JsonlTask(path=write("{"), evaluation_path=str(tmp_path / "nowhere"))
    first, second = problems(config)
    assert first.startswith("task.path: ")
    assert second.startswith("task.evaluation_path: ")
