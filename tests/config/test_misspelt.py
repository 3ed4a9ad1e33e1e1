"""Names and values as people type them: a command line, and the one line it must print.

The lines with an address come from the issue trackers of Hydra and of other trainers.
"""

import shlex

import pytest
from valid_names import GROUPS, LOSS, MODELS, MODES, OPTIMIZER, RECIPES, ROLLOUT, TOP

from slime.config.familiar import FAMILIAR, familiar
from slime.config.groups import BY_NAME
from slime.config.keys import every_key, join
from slime.config.spelling import closest

ONE_LINE = {
    # a group written with a dot, misspelt
    "loss.agregation=constant": (
        f"unknown key 'loss.agregation'; did you mean loss/aggregation=constant? {LOSS}"
    ),
    "loss.agregation=median": (
        "unknown key 'loss.agregation'; did you mean "
        "loss/aggregation=sample_mean|prompt_mean|token_mean|constant|dr_grpo|custom? "
        f"{LOSS}"
    ),
    "loss.kll=k3": f"unknown key 'loss.kll'; did you mean loss/kl=k3? {LOSS}",
    "loss.objectiv=gspo": (
        f"unknown key 'loss.objectiv'; did you mean loss/objective=gspo? {LOSS}"
    ),
    "rollout.engin=replay": (
        f"unknown key 'rollout.engin'; did you mean rollout/engine=replay? {ROLLOUT}"
    ),
    "loss.kl.none=1": "unknown key 'loss.kl.none'; did you mean loss/kl=none?",
    "loss.dr_grpo=1": (
        f"unknown key 'loss.dr_grpo'; did you mean loss/aggregation=dr_grpo? {LOSS}"
    ),
    # a group misspelt
    "modle=tiny": f"unknown key 'modle'; did you mean model=tiny? {TOP}",
    "optimiser=adam": f"unknown key 'optimiser'; did you mean optimizer=adam? {TOP}",
    "advantages=grpo": f"unknown key 'advantages'; did you mean advantage=grpo? {TOP}",
    "recpie=grpo/v1": f"unknown key 'recpie'; did you mean 'recipe'? {TOP}",
    "loss=grpo": (
        f"unknown loss 'grpo'; did you mean 'dr_grpo'? {MODES}; a recipe has that name: "
        "recipe=grpo/v1"
    ),
    "loss=dapo": f"unknown loss 'dapo' {MODES}; a recipe has that name: recipe=dapo/v2",
    "loss=gspo": "unknown loss 'gspo'; did you mean loss/objective=gspo?",
    "loss=null": f"unknown loss 'null' {MODES}",
    "loss.kl=null": "unknown loss/kl 'null'; did you mean 'none'? (valid: k1, k2, k3, none)",
    "optimizer=adamw": "unknown optimizer 'adamw'; did you mean 'adam'? (valid: adam)",
    # case, dashes, file names
    "SEED=1": f"unknown key 'SEED'; did you mean 'seed'? {TOP}",
    "rollout.top-p=0.5": (f"unknown key 'rollout.top-p'; did you mean 'rollout.top_p'? {ROLLOUT}"),
    "loss/aggregation=CONSTANT": (
        f"unknown loss/aggregation 'CONSTANT'; did you mean 'constant'? {MODES}"
    ),
    "loss/aggregation=token-mean": (
        f"unknown loss/aggregation 'token-mean'; did you mean 'token_mean'? {MODES}"
    ),
    "loss/aggregation=constant.yaml": (
        f"unknown loss/aggregation 'constant.yaml'; did you mean 'constant'? {MODES}"
    ),
    "loss/aggregation=": f"unknown loss/aggregation '' {MODES}",
    "recipe=GRPO/v1": f"unknown recipe 'GRPO/v1'; did you mean 'grpo/v1'? {RECIPES}",
    "recipe=recipes/grpo/v1.yaml": (
        f"unknown recipe 'recipes/grpo/v1.yaml'; did you mean 'grpo/v1'? {RECIPES}"
    ),
    "recipe=grpo": f"unknown recipe 'grpo'; did you mean 'grpo/v1'? {RECIPES}",
    "recipe=": f"unknown recipe '' {RECIPES}",
    "'model=${oc.env:MODEL}'": f"unknown model '${{oc.env:MODEL}}' {MODELS}",
    # nodes misspelt: https://github.com/hydra-ecosystem/hydra/issues/1912
    "optimzer.learning_rate=1": (
        f"unknown key 'optimzer.learning_rate'; did you mean 'optimizer.learning_rate'? {TOP}"
    ),
    "taks.path=x": f"unknown key 'taks.path'; did you mean 'task.path' (of task=jsonl)? {TOP}",
    "rolout.temprature=1": (
        f"unknown key 'rolout.temprature'; did you mean 'rollout.temperature'? {TOP}"
    ),
    # dots for slashes, slashes for dots
    "rollout/temperature=0.5": (
        "'rollout/temperature' is a key, not a group: write rollout.temperature=0.5"
    ),
    "rollout/temprature=0.5": (
        f"unknown group 'rollout/temprature'; did you mean 'rollout.temperature'? {GROUPS}"
    ),
    "recipe/grpo=v1": "'recipe/grpo' is no group: write recipe=grpo/v1",
    "/loss/aggregation=constant": (
        "cannot read '/loss/aggregation=constant': write loss/aggregation=constant"
    ),
    "loss//aggregation=constant": (
        "cannot read 'loss//aggregation=constant': write loss/aggregation=constant"
    ),
    "seed/=1": "cannot read 'seed/=1': write seed=1",
    # what others call it
    "lr=1e-5": f"unknown key 'lr'; did you mean 'optimizer.learning_rate'? {TOP}",
    "optimizer.lr=1e-5": (
        f"unknown key 'optimizer.lr'; did you mean 'optimizer.learning_rate'? {OPTIMIZER}"
    ),
    "kl_coef=0.1": (
        f"unknown key 'kl_coef'; did you mean 'loss.kl.coefficient' (of loss/kl=k1|k2|k3)? {TOP}"
    ),
    "beta=0.1": (
        f"unknown key 'beta'; did you mean 'loss.kl.coefficient' (of loss/kl=k1|k2|k3)? {TOP}"
    ),
    "epochs=3": f"unknown key 'epochs'; did you mean 'iterations'? {TOP}",
    "group_size=8": (f"unknown key 'group_size'; did you mean 'rollout.samples_per_prompt'? {TOP}"),
    "batch_size=32": (
        f"unknown key 'batch_size'; did you mean 'rollout.prompts_per_iteration'? {TOP}"
    ),
    "actor_rollout_ref.rollout.n=5": (
        "unknown key 'actor_rollout_ref.rollout.n'; did you mean "
        f"'rollout.samples_per_prompt'? {TOP}"
    ),
    "data.train_batch_size=64": (
        f"unknown key 'data.train_batch_size'; did you mean 'rollout.prompts_per_iteration'? {TOP}"
    ),
    "algorithm.adv_estimator=grpo": (
        f"unknown key 'algorithm.adv_estimator'; did you mean advantage=grpo? {TOP}"
    ),
    "loss_agg_mode=token-mean": (
        f"unknown key 'loss_agg_mode'; did you mean loss/aggregation=token_mean? {TOP}"
    ),
    "loss_agg_mode=seq-mean-token-sum": (
        "unknown key 'loss_agg_mode'; did you mean "
        f"loss/aggregation=sample_mean|prompt_mean|token_mean|constant|dr_grpo|custom? {TOP}"
    ),
    # no key=value: https://github.com/hydra-ecosystem/hydra/issues/902
    "seed": "cannot read 'seed': write seed=<value>",
    "loss/aggregation": (
        "cannot read 'loss/aggregation': write "
        "loss/aggregation=sample_mean|prompt_mean|token_mean|constant|dr_grpo|custom"
    ),
    "loss.aggregation": (
        "cannot read 'loss.aggregation': write "
        "loss/aggregation=sample_mean|prompt_mean|token_mean|constant|dr_grpo|custom"
    ),
    "check": "cannot read 'check': write command=check",
    "help": "cannot read 'help': write --help",
    "tiny": "cannot read 'tiny': write model=tiny",
    "recipes/grpo/v1.yaml": "cannot read 'recipes/grpo/v1.yaml': write recipe=grpo/v1",
    "recipe/grpo/v1": "cannot read 'recipe/grpo/v1': write recipe=grpo/v1",
    "grpo/v1.yaml": "cannot read 'grpo/v1.yaml': write recipe=grpo/v1",
    "seed:1": "cannot read 'seed:1': write seed=1",
    "seed:=1": "cannot read 'seed:=1': write seed=1",
    "seed==1": "cannot read 'seed==1': write seed=1, with one '='",
    "seed=1,": "cannot read 'seed=1,': a value is missing beside a comma; write seed=1",
    "=1": (
        "cannot read '=1': there is no key before the '='; write key=value without spaces "
        "around the '='"
    ),
    "x.y": "cannot read 'x.y': write key=value (--help lists what there is)",
    # special characters: https://github.com/hydra-ecosystem/hydra/issues/1577, 2705, 2891
    "model=path model.path=epoch=9-step=8.ckpt": (
        "cannot read 'model.path=epoch=9-step=8.ckpt': mismatched input '='; write "
        "'model.path=\"epoch=9-step=8.ckpt\"'"
    ),
    "model=path 'model.path=a#b'": (
        "cannot read 'model.path=a#b': token recognition error at: '#'; write 'model.path=\"a#b\"'"
    ),
    "model=path model.path=李明": (
        "cannot read 'model.path=李明': token recognition error at: '李'; write "
        "'model.path=\"李明\"'"
    ),
    "model=path 'model.path=~/x'": (
        "cannot read 'model.path=~/x': token recognition error at: '~'; write 'model.path=\"~/x\"'"
    ),
    "'task.template={question}'": (
        "cannot read 'task.template={question}': no viable alternative at input "
        "'{question}'; write 'task.template=\"{question}\"'"
    ),
    "'task.template=Q (it: {question}'": (
        "cannot read 'task.template=Q (it: {question}': no viable alternative at input 'Q "
        "(it: {'; write 'task.template=\"Q (it: {question}\"'"
    ),
    "task.stop_tokens=[a": "cannot read 'task.stop_tokens=[a': '[' is never closed",
    '"model.path=it\'s"': "cannot read \"model.path=it's\": the quote ' is never closed",
    "task.stop_tokens+=[x]": (
        "cannot read 'task.stop_tokens+=[x]': write task.stop_tokens=[x]; a list is written whole"
    ),
    "'seed=${nope'": (
        "cannot read 'seed=${nope': '${' is never closed; write ${key} for the value of another key"
    ),
    "'seed=${}'": (
        "cannot read 'seed=${}': '${}' names no key; write ${key} for the value of another key"
    ),
    "seed=“1”": "cannot read 'seed=“1”': it holds typographic characters; write seed=\"1\"",
    "\N{EN DASH}seed=1": (
        "cannot read '\N{EN DASH}seed=1': it holds typographic characters; write seed=1"
    ),
    '"seed=1\r"': (
        "cannot read 'seed=1\\r': it holds a line end; a script with Windows line ends needs "
        "dos2unix"
    ),
    # values
    "loss.skip_idle_samples=yes": (
        "loss.skip_idle_samples must be true or false, got 'yes': write true"
    ),
    "loss.skip_idle_samples=off": (
        "loss.skip_idle_samples must be true or false, got 'off': write false"
    ),
    "optimizer.learning_rate=1/100": "optimizer.learning_rate must be a number, got '1/100'",
    "optimizer.learning_rate=-1": ("optimizer.learning_rate must be a finite number > 0, got -1.0"),
    "loss=true": f"unknown loss 'true' {MODES}",
    "task.stop_tokens=[a,[b]]": (
        "task.stop_tokens must be a list of texts, e.g. task.stop_tokens=[a,b], got a list "
        "that holds a list"
    ),
    "model.path=a,b": (
        "'model.path=a,b' names several values: add -m to run them all, or write "
        "'model.path=\"a,b\"'"
    ),
    "task.stop_tokens=a,b": (
        "'task.stop_tokens=a,b' names several values: add -m to run them all, or write "
        "task.stop_tokens=[a,b]"
    ),
    # interpolations: https://github.com/hydra-ecosystem/hydra/issues/2848
    "'seed=${nope}'": "seed=${nope}: there is no key 'nope'",
    "'seed=${seed}'": "seed=${seed}: it stands for itself: write a value",
    "'seed=${iteration}'": (
        "seed=${iteration}: there is no key 'iteration'; did you mean ${iterations}?"
    ),
    "'seed=${oc.env:NOT_SET_ANYWHERE}'": (
        "seed=${oc.env:NOT_SET_ANYWHERE}: NOT_SET_ANYWHERE is not set in the environment; "
        "with a default: ${oc.env:NOT_SET_ANYWHERE,default}"
    ),
    "'seed=${eval:1}'": (
        "seed=${eval:1}: there is no 'eval' to ask; write ${key} or ${oc.env:NAME}"
    ),
    "'seed=${loss}'": "seed=${loss}: what it stands for does not fit this key",
    "'seed=${task.template}'": ("seed=${task.template}: what it stands for does not fit this key"),
    "'rollout.save=${hydra.job.num}'": (
        "rollout.save=${hydra.job.num}: what is below hydra cannot be referred to; refer to "
        "a key of the run, e.g. ${seed}"
    ),
    "'task.stop_tokens=[${nope}]'": "task.stop_tokens=[${nope}]: there is no key 'nope'",
    "'loss/aggregation=constant' 'loss.divisor=${max_response_tokens}'": (
        "loss.divisor=${max_response_tokens}: there is no key 'max_response_tokens'; did "
        "you mean ${rollout.max_response_tokens}?"
    ),
    # flags
    "--seed 1": "unknown flag '--seed'; a setting has no dashes: write seed=<value>",
    "--lr=1e-5": (
        "unknown flag '--lr=1e-5'; a setting has no dashes: write optimizer.learning_rate=1e-5"
    ),
    "--loss-aggregation token-mean": (
        "unknown flag '--loss-aggregation'; a setting has no dashes: write "
        "loss/aggregation=sample_mean|prompt_mean|token_mean|constant|dr_grpo|custom"
    ),
    "--loss-aggregation=token-mean": (
        "unknown flag '--loss-aggregation=token-mean'; a setting has no dashes: write "
        "loss/aggregation=token_mean"
    ),
    "-n 5": (
        "unknown flag '-n'; a setting has no dashes: write rollout.samples_per_prompt=<value>"
    ),
    "--foo": "unknown flag '--foo' (a setting is key=value; --help lists what there is)",
    "-c": "--cfg takes one word: write --cfg job",
    "--cfg all": "--cfg takes one word: write --cfg job",
    "-p": "--package takes one word: write --package NODE",
    "-cn x": (
        "'-cn' is a flag of Hydra that slime does not have: there is one config; a "
        "composition is a recipe: recipe=NAME/vN"
    ),
    "--config-name=x": (
        "'--config-name=x' is a flag of Hydra that slime does not have: there is one "
        "config; a composition is a recipe: recipe=NAME/vN"
    ),
    "--shell-completion install=bash": (
        "'--shell-completion' is a flag of Hydra that slime does not have: write --completion bash"
    ),
    "--info": "'--info' is a flag of Hydra that slime does not have: write --cfg job",
    "--completion fish": "--completion takes one word: write --completion bash|zsh",
    # one key, two values
    "seed=1 seed=2": "seed is set twice, by seed=1 and by seed=2: write only seed=2",
    "model=tiny model=path model.path=x": (
        "model is set twice, by model=tiny and by model=path: write only model=path"
    ),
    "loss={empty_units:drop} loss.empty_units=count": (
        "loss.empty_units is set twice, by loss={empty_units:drop} and by "
        "loss.empty_units=count: write only loss.empty_units=count"
    ),
    "recipe=grpo/v1 recipe=dapo/v1": (
        "recipe is set twice, by recipe=grpo/v1 and by recipe=dapo/v1: write only recipe=dapo/v1"
    ),
}


@pytest.mark.parametrize("line", ONE_LINE)
def test_what_was_mistyped_is_named_with_what_to_write(line, command, tmp_path):
    ended = command(*shlex.split(line))
    assert ended.messages == [ONE_LINE[line]]
    assert (ended.exit_code, ended.out, ended.trained) == (2, "", [])
    assert not list(tmp_path.iterdir())


def test_spaces_around_the_equals_sign_are_told_for_each_piece(command):
    assert command("seed", "=", "1").messages == [
        "cannot read 'seed': write seed=<value>",
        "cannot read '=': there is no key before the '='; write key=value without spaces around "
        "the '='",
        "cannot read '1': write key=value (--help lists what there is)",
    ]


def test_an_unknown_launcher_is_named_with_those_that_are_installed(command):
    [line] = command("-m", "hydra/launcher=jobib", "seed=0,1").messages
    assert line.startswith("unknown hydra/launcher 'jobib'")
    assert "basic" in line


def test_every_name_that_others_use_leads_to_a_key_or_a_group_that_exists():
    known = {*BY_NAME, *(join(*place) for place in every_key())}
    assert set(FAMILIAR.values()) <= known


def test_no_name_that_others_use_is_one_of_ours_meaning_something_else():
    ours = {join(*place) for place in every_key()} | set(BY_NAME)
    assert not ours & set(FAMILIAR)


def test_others_names_are_known_in_any_case_and_with_dashes():
    assert familiar("LR") == familiar("lr") == "optimizer.learning_rate"
    assert familiar("kl-coef") == "loss.kl.coefficient"
    assert familiar("nothing_like_it") is None


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("SEED", "seed"),
        ("top-p", "top_p"),
        ("sede", "seed"),
        ("seed.yaml", "seed"),
        ("null", "none"),
        ("temperature", None),
    ],
)
def test_case_dashes_and_transposed_letters_do_not_hide_a_name(word, near):
    assert closest(word, ["seed", "top_p", "none"]) == near
