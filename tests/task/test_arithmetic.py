import re

from hypothesis import given
from hypothesis import strategies as st

from slime.config.schema import ArithmeticTask
from slime.task import build_task


def no_chat(messages):
    raise AssertionError(f"no chat was expected, got {messages}")


def task(seed=0, **values):
    return build_task(ArithmeticTask(**values), seed, no_chat)


def texts(prompts):
    return [prompt.text for prompt in prompts]


QUESTION = re.compile(r"Question: What is (\d+) ([-+*]) (\d+)\?\nAnswer:")


def test_answers_are_right_and_never_negative():
    for prompt in task().prompts(0, 500):
        left, operation, right = QUESTION.fullmatch(prompt.text).groups()
        a, b = int(left), int(right)
        expected = {"+": a + b, "-": a - b, "*": a * b}[operation]
        assert prompt.answer == str(expected)
        assert expected >= 0


def test_numbers_stay_within_their_limits_and_reach_them():
    largest = {"+": 0, "-": 0, "*": 0}
    for prompt in task(max_term=12, max_factor=4).prompts(0, 2000):
        left, operation, right = QUESTION.fullmatch(prompt.text).groups()
        largest[operation] = max(largest[operation], int(left), int(right))
    assert largest == {"+": 12, "-": 12, "*": 4}


def test_operations_are_equally_frequent():
    asked = [QUESTION.fullmatch(p.text)[2] for p in task().prompts(0, 3000)]
    for operation in "+-*":
        assert 900 < asked.count(operation) < 1100


def test_a_demonstration_is_the_answer_as_the_prompt_asks_for_it():
    prompts = task().prompts(3, 20)
    assert [(d.prompt, d.response) for d in task().demonstrations(3, 20)] == [
        (prompt, f" {prompt.answer}") for prompt in prompts
    ]
    spaced = task(template="{question} =\n").demonstrations(0, 20)
    assert all(d.response == d.prompt.answer for d in spaced)


def test_no_demonstration_is_longer_than_the_longest():
    longest = max(len(d.response) for d in task().longest_demonstrations())
    assert longest == max(len(d.response) for d in task().demonstrations(0, 2000))


def test_prompts_depend_on_seed_and_iteration_alone():
    assert task(seed=1).prompts(3, 16) == task(seed=1).prompts(3, 16)
    assert texts(task(seed=1).prompts(3, 16)) != texts(task(seed=2).prompts(3, 16))
    assert texts(task(seed=1).prompts(3, 16)) != texts(task(seed=1).prompts(4, 16))


def test_ids_are_unique_in_a_run():
    a_task = task()
    prompts = [p for iteration in range(20) for p in a_task.prompts(iteration, 7)]
    prompts += a_task.held_out(50)
    assert len({p.id for p in prompts}) == len(prompts)


HELD_OUT = frozenset(texts(task().held_out(300)))


@given(seed=st.integers(0, 2**31), iteration=st.integers(0, 1000))
def test_what_is_held_out_is_never_trained_on(seed, iteration):
    assert HELD_OUT.isdisjoint(texts(task(seed=seed).prompts(iteration, 64)))


def test_held_out_questions_are_distinct_and_the_same_for_every_seed():
    held_out = task(seed=0).held_out(200)
    assert len(set(texts(held_out))) == 200
    assert held_out == task(seed=7).held_out(200)
    assert task().held_out(50) == held_out[:50]


def test_small_sizes_hold_out_what_there_is():
    held_out = task(max_term=3, max_factor=3).held_out(100)
    assert 0 < len(held_out) < 20


def test_the_smallest_sizes_leave_questions_on_both_sides():
    smallest = task(max_term=1, max_factor=1)
    assert smallest.held_out(10)
    assert set(texts(smallest.prompts(0, 50))).isdisjoint(texts(smallest.held_out(10)))


def test_the_template_is_the_prompt():
    [prompt] = task(template="{question} = {x}", max_term=5).prompts(0, 1)
    assert re.fullmatch(r"\d [-+*] \d = \{x\}", prompt.text)


def test_no_prompt_is_longer_than_the_longest():
    longest = max(len(p.text) for p in task().longest())
    assert longest == max(len(p.text) for p in task().prompts(0, 2000))
