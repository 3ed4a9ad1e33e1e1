"""A run directory from elsewhere: rerun and report read it, and run nothing."""

import json

import pytest
import yaml

from slime.config.past_run import read_run, recipe_of


@pytest.fixture
def run(command, tmp_path):
    """The directory of a run, for an attacker to change."""
    (tmp_path / "mine.py").write_text("def f(response, answer): return 1.0\n")
    done = command("model=tiny", "hydra.run.dir=run")
    assert done.exit_code == 0
    return tmp_path / "run"


def edit(run, change):
    values = yaml.safe_load((run / "resolved.yaml").read_text())
    change(values)
    (run / "resolved.yaml").write_text(yaml.safe_dump(values))


def choose(run, **choices):
    record = json.loads((run / "run.json").read_text())
    record["choices"] |= choices
    (run / "run.json").write_text(json.dumps(record))


def rerun(command, run):
    done = command("command=rerun", f"run={run}", "hydra.run.dir=again")
    lines = [line for line in done.err.splitlines() if line.startswith("config error: ")]
    assert (done.exit_code, done.trained) == (2, [])
    assert "Traceback" not in done.err
    return lines


def test_a_function_of_a_past_run_has_to_be_named_again(command, run, trap, tmp_path, monkeypatch):
    trap.module(tmp_path, "evil_module")
    monkeypatch.syspath_prepend(tmp_path)
    choose(run, reward="function")
    edit(run, lambda v: v["reward"].update(name="function", function="evil_module:f"))
    [line] = rerun(command, run)
    assert "reward.function=evil_module:f is not named on the command line" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(hydra={"callbacks": {"x": {"_target_": "os.mkdir"}}}), "'hydra'"),
        (lambda v: v["task"].update(_target_="os.mkdir"), "'task._target_'"),
    ],
)
def test_a_past_run_sets_only_what_slime_knows(change, message, command, run):
    edit(run, change)
    [line] = rerun(command, run)
    assert f"unknown key {message}" in line


ADDRESS = "127.0.0.1:6379"


def test_the_cluster_of_a_past_run_has_to_be_named_again(command, run):
    """Who runs a Ray cluster can run code in those who join it."""
    choose(run, cluster="existing")
    edit(run, lambda v: v["cluster"].update(address=ADDRESS, max_restarts=7))
    done = command("command=rerun", f"run={run}", "hydra.run.dir=again")
    [(config, _)] = done.trained
    assert (config.cluster.address, config.cluster.max_restarts) == (None, 7)
    assert f"cluster.address={ADDRESS} then; only the command line sets it" in done.err
    named = f"cluster.address={ADDRESS}"
    done = command("command=rerun", f"run={run}", "hydra.run.dir=named", named)
    [(config, _)] = done.trained
    assert config.cluster.address == ADDRESS
    assert "then; only" not in done.err


TEXTS = [r"\${oc.env:HOME}", r"\\${oc.env:HOME}", "${oc.env:HOME}", r"\\\${a}\\", "$", "\\"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_of_a_past_run_asks_the_machine(text, run):
    choose(run, task="jsonl")
    task = {"name": "jsonl", "path": f"{text}.jsonl", "evaluation_path": None, "stop_tokens": []}
    edit(run, lambda v: v.update(task=task, seed=[text, [{"a": text}]]))
    record = json.loads((run / "run.json").read_text()) | {"recipe": text, "directory": f"/{text}"}
    (run / "run.json").write_text(json.dumps(record))
    recipe = recipe_of(read_run("run", str(run)))
    assert recipe.recipe == recipe.seed[0] == recipe.seed[1][0].a == text
    assert recipe.task.path == f"/{text}/{text}.jsonl"


@pytest.mark.parametrize(
    "change",
    [
        {"directory": 3},
        {"versions": [1]},
        {"versions": {"slime": [1]}},
        {"choices": [1]},
        {"choices": {"task": {}}},
        {"fingerprint": {}},
        {"recipe": [1]},
        {"commit": {}},
        {"python": 3},
    ],
    ids=str,
)
def test_a_record_of_other_types_is_one_line(change, command, run):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | change))
    [line] = rerun(command, run)
    [name] = change
    assert f"run.json: cannot be read: {name!r} is not what a run writes there" in line


def test_what_is_said_of_a_past_run_moves_no_cursor(command, run):
    record = json.loads((run / "run.json").read_text())
    evil = "\x1b[2J\r\x9b\u202e\ud800" + "x" * 100_000
    record |= {"commit": evil, "python": evil, "versions": {"torch": evil}, "fingerprint": evil}
    (run / "run.json").write_text(json.dumps(record))
    done = command("command=rerun", f"run={run}", "hydra.run.dir=again")
    assert r"\x1b[2J\r\x9b\u202e\ud800" in done.err
    assert all(c.isprintable() for c in done.err.replace("\n", ""))
    assert max(map(len, done.err.splitlines())) < 3000


@pytest.mark.parametrize(
    "arguments",
    [
        [f"seed={'x' * 50_000}"],
        [f"seed={'1' * 50_000}"],
        ["-m", f"seed={'1' * 50_000},1"],
        ["--cfg", "job", f"seed={'1' * 50_000}"],
        [f"{'a' * 50_000}=1"],
        [f"recipe={'a' * 50_000}"],
        [f"--{'a' * 50_000}"],
        ["command=rerun", f"run={'a' * 50_000}"],
        ["model=path", f"model.path={'a' * 50_000}"],
        [f"checkpoint.resume={'a' * 50_000}"],
        [f"hydra.run.dir={'a' * 50_000}"],
        ["task=jsonl", f"task.path={'a' * 50_000}"],
        ["command=report", f"runs=[{'a' * 50_000}]"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_long_values_are_one_line_that_is_cut(arguments, command):
    done = command(*arguments)
    [line] = done.messages
    assert done.exit_code == 2
    assert len(line) < 3000


@pytest.mark.parametrize(
    "text",
    [
        "seed: !!python/object/apply:os.mkdir [TARGET]",
        "a: &a [1]\nb: [*a, *a]",
        "[" * 100_000,
        "\xff\xfe",
        "a: [1",
    ],
    ids=["python", "bomb", "deep", "bytes", "broken"],
)
def test_values_that_are_no_plain_yaml_are_refused_and_left_out(text, command, run, trap):
    (run / "resolved.yaml").write_bytes(text.replace("TARGET", str(trap.target)).encode("latin-1"))
    [line] = rerun(command, run)
    assert "resolved.yaml" in line
    assert "Traceback" not in command("command=report", f"runs={run}").err


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"choices": 1' + "0" * 5000 + "}", "\xff", "[]"],
    ids=["deep", "digits", "bytes", "list"],
)
def test_a_record_that_is_no_plain_json_is_one_line(text, command, run):
    (run / "run.json").write_bytes(text.encode("latin-1"))
    [line] = rerun(command, run)
    assert "run.json: cannot be read" in line


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'{{7*7}}"


def test_nothing_in_a_run_becomes_markup_of_the_page(command, run):
    def attack(values):
        values["recipe"] = values["tracking"]["name"] = SCRIPT
        values["model"]["name"] = SCRIPT

    edit(run, attack)
    record = json.loads((run / "run.json").read_text())
    record |= dict.fromkeys(("fingerprint", "commit", "time", "python", "recipe"), SCRIPT)
    record["versions"] = record["choices"] = {SCRIPT: SCRIPT}
    (run / "run.json").write_text(json.dumps(record))
    records = [
        {"iteration": n, "step": n, "rollout/reward_mean": n, SCRIPT: 1.0} for n in range(3)
    ] + [{"iteration": n, "evaluation/reward_mean": 0.5, SCRIPT: SCRIPT} for n in (0, 3)]
    lines = [json.dumps(r) for r in records] + ["[" * 100_000, '{"step": 1' + "0" * 5000 + "}"]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    evil = run.rename(run.with_name("<script>run<"))
    done = command("command=report", "runs=['<script>run<']", "report.folder=page")
    assert done.exit_code == 0, done.err
    for file in (evil.parent / "page").iterdir():
        text = file.read_text(encoding="utf-8", errors="replace")
        assert "<script" not in text.lower(), file
        assert "<img src=x" not in text, file
    assert "49" not in (evil.parent / "page" / "index.html").read_text().partition("alert")[2][:60]
