"""The table of mistakes: a command line, and every line it must print."""

import shlex

import pytest
from valid_names import GROUPS, LOSS, MODELS, MODES, RECIPES, TOP

from slime.cluster.check import cores

NO_DIVISOR = (
    "loss.divisor is required (the constant L; it sets the scale of the loss, so it has no "
    "default): pass loss.divisor=<value>"
)
HYDRA = (
    "{!r}: of Hydra's own settings slime knows hydra.run.dir, hydra.sweep.dir, hydra.job.name, "
    "hydra.job.env_*, hydra/launcher, hydra/sweeper and what is below these two: {}"
)
WITHOUT_PLUS = "{!r}: write it without the + (it would be pushed past what knows its keys)"
NOT_USED = (
    "'loss.divisor' is not used by loss/aggregation=sample_mean; it belongs to constant|dr_grpo"
)
CONSTANT = "loss/aggregation=constant"
GSPO = "loss/objective=gspo loss/aggregation="
SFT = (
    "loss/objective=sft advantage=constant rollout/engine=demonstrations "
    "rollout.samples_per_prompt=1"
)
CUSTOM = "loss/aggregation=custom"
DYNAMIC = "rollout/filter=dynamic"
SOFT = "reward/overlong=soft"
STORE = (
    "tracking.uri must be http(s)://host:port, sqlite:///file.db, another database's URI or null,"
)


def once_per_token(mode):
    return (
        f"loss/objective=gspo has one ratio for a whole sequence, and loss/aggregation={mode} "
        "would count it once for each of its tokens, long sequences more than short ones: write "
        "loss/aggregation=sample_mean"
    )


def no_package(key, module):
    return (
        f"{key}={module}:f: cannot import {module} (ModuleNotFoundError: No module named "
        "'nowhere'); it must be on PYTHONPATH"
    )


ONE_LINE = {
    # the divisor
    CONSTANT: NO_DIVISOR,
    f"{CONSTANT} loss.divisor=abc": "loss.divisor must be a number, got 'abc'",
    f"{CONSTANT} loss.divisor=true": "loss.divisor must be a number, got true",
    f"{CONSTANT} loss.divisor=null": "loss.divisor must be a number, got null",
    f"{CONSTANT} loss.divisor=": "loss.divisor must be a number, got ''",
    f"{CONSTANT} loss.divisor=[1]": "loss.divisor must be a number, got a list",
    f"{CONSTANT} loss.divisor={{a:1}}": "loss.divisor must be a number, got a mapping",
    f"{CONSTANT} loss.divisor=nan": "loss.divisor must be a finite number > 0, got nan",
    f"{CONSTANT} loss.divisor=inf": "loss.divisor must be a finite number > 0, got inf",
    f"{CONSTANT} loss.divisor=-inf": "loss.divisor must be a finite number > 0, got -inf",
    f"{CONSTANT} loss.divisor=1e999": "loss.divisor must be a finite number > 0, got inf",
    f"{CONSTANT} loss.divisor=0": "loss.divisor must be a finite number > 0, got 0.0",
    f"{CONSTANT} loss.divisor=1e50": "loss.divisor must be at most 1e30, got 1e+50",
    "loss/correction=tis loss.correction.cap=1e39": (
        "loss.correction.cap must be at most 1e30, got 1e+39"
    ),
    "loss.objective.clip_high=1e300": "loss.objective.clip_high must be at most 1e30, got 1e+300",
    f"{CONSTANT} loss.divisor=-1": "loss.divisor must be a finite number > 0, got -1.0",
    f"{CONSTANT} 'loss.divisor=\"40960\"'": (
        "loss.divisor must be a number, got the quoted text '40960': drop the quotes"
    ),
    f"{CONSTANT} loss.divisor=[1": "cannot read 'loss.divisor=[1': '[' is never closed",
    f"{CONSTANT} loss.divisor": "cannot read 'loss.divisor': write loss.divisor=<value>",
    f"{CONSTANT} 'loss.divisor=${{rollout.nope}}'": (
        "loss.divisor=${rollout.nope}: there is no key 'rollout.nope'"
    ),
    f"{CONSTANT} 'loss.divisor=${{loss.skip_idle_samples}}'": (
        "loss.divisor=${loss.skip_idle_samples}: what it stands for does not fit this key"
    ),
    # a key of another mode, however hard it is pushed
    "loss.divisor=5": NOT_USED,
    "+loss.divisor=5": NOT_USED,
    "++loss.divisor=5": NOT_USED,
    "loss={divisor:5}": NOT_USED,
    "+loss={divisor:5}": NOT_USED,
    "--cfg job loss.divisor=5": NOT_USED,
    "loss.kl.coefficient=0.1": (
        "'loss.kl.coefficient' is not used by loss/kl=none; it belongs to k1|k2|k3"
    ),
    "model.hidden_size=64": (
        "'model.hidden_size' is not used by model=smollm2_135m; it belongs to tiny|tiny_moe"
    ),
    "advantage=dr_grpo advantage.epsilon=1": (
        "'advantage.epsilon' is not used by advantage=dr_grpo; it belongs to grpo"
    ),
    # advantages, and a KL in the reward
    "advantage.value=2": "'advantage.value' is not used by advantage=grpo; it belongs to constant",
    "advantage=reinforce_plusplus": (
        "unknown advantage 'reinforce_plusplus'; did you mean 'reinforce_plus_plus'? (valid: "
        "constant, dr_grpo, grpo, reinforce_plus_plus, reinforce_plus_plus_baseline, rloo)"
    ),
    "advantage=constant advantage.value=0": "advantage.value must be a finite number > 0, got 0.0",
    "advantage=constant advantage.whitening=tokens": (
        "advantage.whitening=tokens takes the mean away, and of advantage=constant nothing is "
        "left: write advantage.whitening=none"
    ),
    "advantage.whitening=token": (
        "advantage.whitening must be one of its choices, got 'token'; did you mean 'tokens'? "
        "(valid: none, rollouts, tokens)"
    ),
    "advantage=rloo advantage.whitening_epsilon=0": (
        "advantage.whitening_epsilon must be a finite number > 0, got 0.0"
    ),
    "advantage=reinforce_plus_plus_baseline rollout.samples_per_prompt=1": (
        "rollout.samples_per_prompt must be at least 2, got 1: "
        "advantage=reinforce_plus_plus_baseline compares a rollout with the others of its group, "
        "and in a group of one it is always 0; advantage=reinforce_plus_plus needs no group"
    ),
    "loss.kl.place=reward": "'loss.kl.place' is not used by loss/kl=none; it belongs to k1|k2|k3",
    "loss/kl=k3 loss.kl.place=rewards": (
        "loss.kl.place must be one of its choices, got 'rewards'; did you mean 'reward'? (valid: "
        "loss, reward)"
    ),
    "loss/kl=k1 loss.kl.place=reward advantage=constant": (
        "loss.kl.place=reward takes the KL off the reward, which advantage=constant does not read: "
        "write loss.kl.place=loss"
    ),
    "loss/kl=k1 loss.kl.place=reward advantage=reinforce_plus_plus advantage.whitening=rollouts": (
        "advantage.whitening=rollouts needs one number for each rollout, and loss.kl.place=reward "
        "gives every token of advantage=reinforce_plus_plus its own: write "
        "advantage.whitening=tokens"
    ),
    "command=explain check.replay=saved loss/kl=k1 loss.kl.place=reward": (
        "command=explain runs no model, so it cannot know the KL that loss.kl.place=reward takes "
        "off the rewards: write loss.kl.place=loss, or command=check"
    ),
    # filters, shaping, demonstrations
    "rollout/filter=dynmic": (
        "unknown rollout/filter 'dynmic'; did you mean 'dynamic'? (valid: dynamic, none, "
        "zero_variance)"
    ),
    "rollout.filter=dynamic": (
        "'rollout.filter' is chosen by its group, with a slash: write rollout/filter=dynamic"
    ),
    "rollout.filter.max_rounds=3": (
        "'rollout.filter.max_rounds' is not used by rollout/filter=none; it belongs to dynamic"
    ),
    f"{DYNAMIC} rollout.filter.max_rounds=0": (
        "rollout.filter.max_rounds must be at least 1, got 0"
    ),
    f"{DYNAMIC} rollout.filter.prompts_per_round=0": (
        "rollout.filter.prompts_per_round must be at least 1, got 0"
    ),
    f"{DYNAMIC} rollout.filter.prompts_per_round=3": (
        "rollout.filter.max_rounds=10 x rollout.filter.prompts_per_round=3 is less than "
        "rollout.prompts_per_iteration=32: an iteration could never be full"
    ),
    f"{DYNAMIC} rollout.samples_per_prompt=1 advantage=reinforce_plus_plus": (
        "rollout/filter=dynamic leaves out groups whose rewards are all equal, and those of a "
        "group of one always are: write rollout/filter=none, or raise rollout.samples_per_prompt=1"
    ),
    "rollout/filter=zero_variance steps_per_iteration=2": (
        "rollout/filter=zero_variance leaves any number of prompts, which need not split into "
        "steps_per_iteration=2 equal steps: write incomplete_step=train or incomplete_step=drop"
    ),
    "reward.overlong.factor=2": (
        "'reward.overlong.factor' is not used by reward/overlong=none; it belongs to soft"
    ),
    f"{SOFT} reward.overlong.buffer_fraction=0": (
        "reward.overlong.buffer_fraction must be in (0, 1], got 0.0"
    ),
    f"{SOFT} reward.overlong.buffer_fraction=4096": (
        "reward.overlong.buffer_fraction must be in (0, 1], got 4096.0"
    ),
    f"{SOFT} reward.overlong.factor=-1": (
        "reward.overlong.factor must be a finite number >= 0, got -1.0"
    ),
    "loss/objective=sft": (
        "loss/objective=sft imitates whatever it is given, and rollout/engine=local gives the "
        "model's own answers: write rollout/engine=demonstrations"
    ),
    SFT.removesuffix(" rollout.samples_per_prompt=1"): (
        "rollout.samples_per_prompt=8: rollout/engine=demonstrations has one answer for a prompt; "
        "write rollout.samples_per_prompt=1"
    ),
    f"{SFT} rollout/filter=dynamic": (
        "rollout/filter=dynamic is for sampled answers, and rollout/engine=demonstrations gives "
        "others: write rollout/filter=none"
    ),
    f"{SFT} {SOFT}": (
        "reward/overlong=soft is for sampled answers, and rollout/engine=demonstrations gives "
        "others: write reward/overlong=none"
    ),
    # objective, correction, custom aggregation
    f"{GSPO}token_mean": once_per_token("token_mean"),
    f"{GSPO}prompt_mean": once_per_token("prompt_mean"),
    f"{GSPO}constant loss.divisor=5": once_per_token("constant"),
    f"{GSPO}dr_grpo": once_per_token("constant"),
    "loss.objective.dual_clip=1": "loss.objective.dual_clip must be above 1, or null, got 1.0",
    "loss.objective.dual_clip=-3": (
        "loss.objective.dual_clip must be a finite number > 0, got -3.0"
    ),
    "loss.objective.dual_clip=none": (
        "loss.objective.dual_clip must be a number or null, got 'none'"
    ),
    "loss/objective=gspo loss.objective.dual_clip=3": (
        "'loss.objective.dual_clip' is not used by loss/objective=gspo; it belongs to ppo"
    ),
    "loss/objective=cispo loss.objective.clip_low=0": (
        "loss.objective.clip_low must be in (0, 1], got 0.0"
    ),
    "loss/objective=cispo loss.objective.clip_high=0": (
        "loss.objective.clip_high must be a finite number > 0, got 0.0"
    ),
    "loss/objective=cispo loss.objective.dual_clip=3": (
        "'loss.objective.dual_clip' is not used by loss/objective=cispo; it belongs to ppo"
    ),
    "loss/objective=reinforce loss.objective.clip_high=0.2": (
        "'loss.objective.clip_high' is not used by loss/objective=reinforce; it belongs to "
        "ppo|gspo|cispo"
    ),
    f"{SFT} loss.objective.clip_low=0.2": (
        "'loss.objective.clip_low' is not used by loss/objective=sft; it belongs to ppo|gspo|cispo"
    ),
    f"{SFT} loss/correction=tis": (
        "loss/correction=tis corrects for how the rollout engine drew its tokens, and "
        "loss/objective=sft imitates them whoever wrote them: write loss/correction=none"
    ),
    f"{SFT} loss/kl=k3": (
        "loss/kl=k3 is an estimate from tokens that the policy has drawn, and loss/objective=sft "
        "imitates tokens whoever wrote them: write loss/kl=none"
    ),
    "loss.correction.cap=2": (
        "'loss.correction.cap' is not used by loss/correction=none; it belongs to tis"
    ),
    "loss/correction=tis loss.correction.low=1": (
        "'loss.correction.low' is not used by loss/correction=tis; it belongs to icepop"
    ),
    "loss/correction=tis loss.correction.cap=0": (
        "loss.correction.cap must be a finite number > 0, got 0.0"
    ),
    "loss/correction=icepop loss.correction.low=6": (
        "loss.correction.low=6.0 must be below loss.correction.high=5.0"
    ),
    "loss.function=a:b": (
        "'loss.function' is not used by loss/aggregation=sample_mean; it belongs to custom"
    ),
    CUSTOM: (
        "loss.function is required (package.module:name of a function StepShape -> weights [S]): "
        "pass loss.function=<value>"
    ),
    f"{CUSTOM} loss.function=f": "loss.function must be package.module:name, got 'f'",
    f"{CUSTOM} loss.function=nowhere.at_all:f": no_package("loss.function", "nowhere.at_all"),
    "reward=function reward.function=nowhere:f": no_package("reward.function", "nowhere"),
    # dot and slash
    "loss.aggregation=constant": (
        "'loss.aggregation' is written by its group: select it with loss/aggregation=constant"
    ),
    "loss.aggregation=median": (
        "'loss.aggregation' is written by the group loss/aggregation, which has no 'median' "
        f"{MODES}"
    ),
    "loss={aggregation:constant}": (
        "'loss.aggregation' is written by its group: select it with loss/aggregation=constant"
    ),
    "loss.kl=k3": "'loss.kl' is chosen by its group, with a slash: write loss/kl=k3",
    "loss.objective=gspo": (
        "'loss.objective' is chosen by its group, with a slash: write loss/objective=gspo"
    ),
    "loss.correction=tis": (
        "'loss.correction' is chosen by its group, with a slash: write loss/correction=tis"
    ),
    "loss=constant": (
        "'loss' is chosen by its group, with a slash: write loss/aggregation=constant"
    ),
    "rollout.engine=replay": (
        "'rollout.engine' is chosen by its group, with a slash: write rollout/engine=replay"
    ),
    "rollout=local": "unknown rollout 'local'; did you mean rollout/engine=local?",
    "model.name=tiny": "'model.name' is written by its group: select it with model=tiny",
    "loss/divisor=5": "'loss/divisor' is a key, not a group: write loss.divisor=5",
    "evaluation=5": "'evaluation' has keys of its own: set those, e.g. evaluation.<key>=<value>",
    # unknown keys, groups, choices, recipes
    "foo=1": f"unknown key 'foo' {TOP}",
    "+foo=1": f"unknown key 'foo' {TOP}",
    "++foo.bar=1": f"unknown key 'foo.bar' {TOP}",
    "temperature=0.7": f"unknown key 'temperature'; did you mean 'rollout.temperature'? {TOP}",
    "divisor=3": (
        "unknown key 'divisor'; did you mean 'loss.divisor' (of "
        f"loss/aggregation=constant|dr_grpo)? {TOP}"
    ),
    "kl=k3": f"unknown key 'kl'; did you mean loss/kl=k3? {TOP}",
    "loss.empty_unit=drop": (
        f"unknown key 'loss.empty_unit'; did you mean 'loss.empty_units'? {LOSS}"
    ),
    "loss.clip_low=0.1": "loss.clip_low was renamed in 0.2: write loss.objective.clip_low=...",
    "check.replya=x": (
        "unknown key 'check.replya'; did you mean 'check.replay'? (valid keys of check: iteration, "
        "replay, seed, shrink)"
    ),
    "loss/objective=gpso": (
        "unknown loss/objective 'gpso'; did you mean 'gspo'? (valid: cispo, gspo, ppo, "
        "reinforce, sft)"
    ),
    "loss.divisr=5": (
        "unknown key 'loss.divisr'; did you mean 'loss.divisor' (of "
        f"loss/aggregation=constant|dr_grpo)? {LOSS}"
    ),
    "loss/kl=k3 loss.kl.coef=1": (
        "unknown key 'loss.kl.coef'; did you mean 'loss.kl.coefficient' (of loss/kl=k1|k2|k3)? "
        "(valid keys of loss.kl: coefficient, place)"
    ),
    "seed.x=1": f"unknown key 'seed.x'; did you mean 'seed'? {TOP}",
    "loss/agregation=constant": (
        f"unknown group 'loss/agregation'; did you mean loss/aggregation=constant? {GROUPS}"
    ),
    "loss/aggregation=sample_men": (
        f"unknown loss/aggregation 'sample_men'; did you mean 'sample_mean'? {MODES}"
    ),
    "model=tinny": f"unknown model 'tinny'; did you mean 'tiny'? {MODELS}",
    "model=5": f"unknown model '5' {MODELS}",
    "model=null": f"unknown model 'null' {MODELS}",
    "model=[tiny,path]": f"unknown model '[tiny,path]' {MODELS}",
    "recipe=grpo/v9": f"unknown recipe 'grpo/v9'; did you mean 'grpo/v1'? {RECIPES}",
    "recipe=null": "'recipe=null': leave it out to have no recipe",
    "+model=tiny": "'+model=tiny': write model=tiny",
    "++recipe=grpo/v1": "'++recipe=grpo/v1': write recipe=grpo/v1",
    "model@x=tiny": "'model@x=tiny': write model=tiny",
    "~model": "'~model': a group cannot be removed; choose another with model=<choice>",
    "~loss": "'~loss': a key cannot be removed; leave it out to have its default",
    "~seed": "'~seed': a key cannot be removed; leave it out to have its default",
    "+seed=1": "'+seed=1': 'seed' exists, write it without the +",
    # required
    "model=path": "model.path is required (the folder): pass model.path=<value>",
    "model=qwen3_4b": "model.path is required (the folder): pass model.path=<value>",
    "model=qwen3_4b model.path=/no/where": "model.path: /no/where is not a folder",
    "model=tiny_moe model.experts_per_token=9": (
        "model.experts_per_token=9 is more than model.experts=8"
    ),
    "model=tiny_moe model.experts_per_token=0": "model.experts_per_token must be at least 1, got 0",
    "parallel.expert=0": "parallel.expert must be at least 1, got 0",
    "model=tiny_moe parallel.expert=2": (
        "parallel.expert=2 must divide parallel.data x parallel.context = 1: the experts are "
        "shared among these workers, which are there anyway"
    ),
    "model=tiny_moe parallel.expert=3 parallel.data=3": (
        "parallel.expert=3 does not divide the model's 8 experts: write parallel.expert=1|2|4|8"
    ),
    "model=tiny parallel.expert=2 parallel.data=2": (
        "parallel.expert=2 shares experts, and the model has none: write parallel.expert=1"
    ),
    "model=tiny_moe parallel.tensor=2 parallel.sequence=false": (
        "parallel.tensor=2 with experts needs sequence parallelism: write parallel.sequence=true"
    ),
    "reward=function": (
        "reward.function is required (package.module:name): pass reward.function=<value>"
    ),
    "rollout/engine=replay": (
        "rollout.engine.path is required (a folder that rollout.save wrote; iteration i trains on "
        "its i-th iteration): pass rollout.engine.path=<value>"
    ),
    # types
    "seed=true": "seed must be a whole number, got true",
    "seed=1.5": "seed must be a whole number, got 1.5",
    "iterations=1e3": "iterations must be a whole number, got 1000.0: write 1000",
    "'seed=\"3\"'": "seed must be a whole number, got the quoted text '3': drop the quotes",
    "loss.objective.clip_low=true": "loss.objective.clip_low must be a number, got true",
    "loss.skip_idle_samples=1": ("loss.skip_idle_samples must be true or false, got 1: write true"),
    "rollout.save=true": "rollout.save must be a text or null, got true",
    "task.stop_tokens=abc": (
        "task.stop_tokens must be a list of texts, e.g. task.stop_tokens=[a,b], got 'abc'"
    ),
    "loss.empty_units=dorp": (
        "loss.empty_units must be one of its choices, got 'dorp'; did you mean 'drop'? "
        "(valid: count, drop)"
    ),
    "loss.auxiliary_aggregation=mean": (
        "loss.auxiliary_aggregation must be one of its choices, got 'mean' (valid: auto, "
        "prompt_mean, same, sample_mean, token_mean)"
    ),
    "loss.mask_truncated=1": "loss.mask_truncated must be true or false, got 1: write true",
    "incomplete_step=maybe": (
        "incomplete_step must be one of its choices, got 'maybe' (valid: drop, refuse, train)"
    ),
    "parallel.layout=packed": (
        "parallel.layout must be one of its choices, got 'packed' (valid: bshd, thd)"
    ),
    "parallel.tensor=1.5": "parallel.tensor must be a whole number, got 1.5",
    "check.shrink=2": "check.shrink must be true or false, got 2",
    "command=prove": (
        "command must be one of its choices, got 'prove' (valid: check, diff, explain, plan, "
        "recipes, report, rerun, train)"
    ),
    # commands that need a recipe or a run, and what they are given
    "command=diff": "command=diff needs against=<a recipe or a run directory>",
    "command=diff against=": "against must not be empty",
    "command=diff against=/dev": "against=/dev is not a run directory: it has no run.json",
    "command=diff run=/no/where against=grpo/v1": "run=/no/where: there is no such folder",
    "-m command=diff against=grpo/v1 seed=0,1": (
        "command=diff starts no run to sweep over: drop --multirun"
    ),
    "command=rerun": "command=rerun needs run=<a run directory>",
    "command=rerun run=/no/where": "run=/no/where: there is no such folder",
    "command=rerun run=/dev": "run=/dev is not a run directory: it has no run.json",
    "command=report": "command=report needs runs=<run directories or a sweep's directory>",
    "command=report runs=[]": "command=report needs runs=<run directories or a sweep's directory>",
    "command=report runs=/no/where": "runs: /no/where is not a folder",
    "against=grpo/v1": "against is not used by command=train; it belongs to command=diff",
    "run=x": "run is not used by command=train; it belongs to command=rerun or command=diff",
    "command=check runs=x": "runs is not used by command=check; it belongs to command=report",
    "loss={clip_high:0.3}": (
        "loss.clip_high was renamed in 0.2: write loss.objective.clip_high=..."
    ),
    # ranges, and sizes that do not fit together
    "seed=-1": "seed must be in [0, 4294967295], got -1",
    "iterations=0": "iterations must be at least 1, got 0",
    "max_bad_steps=0": "max_bad_steps must be at least 1, got 0",
    "rollout.prompts_per_iteration=0": "rollout.prompts_per_iteration must be at least 1, got 0",
    "rollout.max_response_tokens=-3": "rollout.max_response_tokens must be at least 1, got -3",
    "rollout.temperature=0": "rollout.temperature must be in (0.001, 1000], got 0.0",
    "rollout.temperature=1e-30": "rollout.temperature must be in (0.001, 1000], got 1e-30",
    "parallel.context=8 rollout.max_prompt_tokens=1010 parallel.max_tokens_per_microbatch=1020": (
        "parallel.max_tokens_per_microbatch=1020 is less than one sample can have: "
        "rollout.max_prompt_tokens + rollout.max_response_tokens = 1018, 1024 with the padding of "
        "this layout"
    ),
    "rollout.top_p=1.5": "rollout.top_p must be in (0, 1], got 1.5",
    "loss.objective.clip_low=1": "loss.objective.clip_low must be in (0, 1), got 1.0",
    "loss/kl=k3 loss.kl.coefficient=-1": (
        "loss.kl.coefficient must be a finite number >= 0, got -1.0"
    ),
    "optimizer.beta1=1": "optimizer.beta1 must be in [0, 1), got 1.0",
    "parallel.data=0": "parallel.data must be at least 1, got 0",
    "parallel.context=0": "parallel.context must be at least 1, got 0",
    "parallel.tensor=-2": "parallel.tensor must be at least 1, got -2",
    "parallel.pipeline=0": "parallel.pipeline must be at least 1, got 0",
    "parallel.microbatches=0": "parallel.microbatches must be at least 1, got 0",
    "check.iteration=-1": "check.iteration must be at least 0, got -1",
    "check.seed=-1": "check.seed must be in [0, 4294967295], got -1",
    "check.replay=": "check.replay must not be empty",
    "command=plan plan.gpus=-1": "plan.gpus must be at least 0, got -1",
    "command=plan plan.gpu_memory_gib=0": (
        "plan.gpu_memory_gib must be a finite number > 0, got 0.0"
    ),
    "command=plan plan.memory_gib=nan": "plan.memory_gib must be a finite number > 0, got nan",
    "command=plan plan.gpus=0 plan.gpu_memory_gib=80": (
        "plan.gpu_memory_gib=80 is the memory of each of plan.gpus, and plan.gpus=0: leave one of "
        "them out"
    ),
    "-m command=plan parallel.data=1,2": (
        "command=plan starts no run to sweep over: drop --multirun"
    ),
    "command=plan parallel.tensor=2": (
        "parallel.tensor=2 does not divide the model's 9 attention heads and 3 key-value heads: "
        "write parallel.tensor=1|3"
    ),
    "command=plan model=path model.path=/no/where": ("model.path: /no/where is not a folder"),
    "cluster.rendezvous_port=70000": "cluster.rendezvous_port must be in [0, 65535], got 70000",
    "cluster.allowed_imports=[a-b]": (
        "cluster.allowed_imports holds 'a-b': write package or package.module"
    ),
    "reward.max_memory_gib=1e300": "reward.max_memory_gib must be at most 1e+06, got 1e+300",
    "reward.timeout_seconds=1e300": "reward.timeout_seconds must be at most 1e+06, got 1e+300",
    "reward.max_memory_gib=0": "reward.max_memory_gib must be a finite number > 0, got 0.0",
    "cluster.max_restarts=-1": "cluster.max_restarts must be a finite number >= 0, got -1",
    "cluster.engine_timeout_seconds=0": (
        "cluster.engine_timeout_seconds must be a finite number > 0, got 0.0"
    ),
    "checkpoint.interval=-1": "checkpoint.interval must be a finite number >= 0, got -1",
    "checkpoint.keep_last=0": "checkpoint.keep_last must be at least 1, got 0",
    "checkpoint.keep_every=-2": "checkpoint.keep_every must be a finite number >= 0, got -2",
    "checkpoint.keep_every=7": (
        "checkpoint.keep_every=7 must be a multiple of checkpoint.interval=5: no others are saved"
    ),
    "checkpoint.resume=''": "checkpoint.resume must not be empty",
    "checkpoint.resume=nowhere": (
        "checkpoint.resume=nowhere: there is no such folder; write auto, never, a run directory or "
        "one of its checkpoints"
    ),
    "checkpoint.resume=.": "checkpoint.resume=. holds no checkpoint",
    "checkpoint.grace_seconds=0": "checkpoint.grace_seconds must be a finite number > 0, got 0.0",
    "cluster.address=here": "cluster.address must be auto, host:port or null, got 'here'",
    "model=tiny model.hidden_size=100": "model.hidden_size must be a multiple of 8, got 100",
    "task.template=hello": "task.template must contain {question}",
    "reward=function reward.function=foo": (
        "reward.function must be package.module:name, got 'foo'"
    ),
    "steps_per_iteration=3": (
        "rollout.prompts_per_iteration=32 does not split into steps_per_iteration=3: a step takes "
        "whole prompts, and every step as many as the others; write incomplete_step=train (the "
        "last step is smaller), incomplete_step=drop (what is left over trains nothing) or a "
        "steps_per_iteration that divides 32"
    ),
    "steps_per_iteration=33 incomplete_step=drop": (
        "rollout.prompts_per_iteration=32 does not split into steps_per_iteration=33: a step takes "
        "at least one prompt; write steps_per_iteration=32 or less"
    ),
    "rollout.prompts_per_iteration=10 steps_per_iteration=6 incomplete_step=train": (
        "rollout.prompts_per_iteration=10 does not split into steps_per_iteration=6: steps of 2 "
        "prompts are only 5; write steps_per_iteration=5 or incomplete_step=drop"
    ),
    "parallel.max_tokens_per_microbatch=100": (
        "parallel.max_tokens_per_microbatch=100 is less than one sample can have: "
        "rollout.max_prompt_tokens + rollout.max_response_tokens = 264"
    ),
    "rollout.samples_per_prompt=1": (
        "rollout.samples_per_prompt must be at least 2, got 1: advantage=grpo compares a rollout "
        "with the others of its group, and in a group of one it is always 0; "
        "advantage=reinforce_plus_plus needs no group"
    ),
    "optimizer.warmup_steps=20": (
        "optimizer.warmup_steps=20 leaves no step at optimizer.learning_rate: "
        "iterations x steps_per_iteration = 20"
    ),
    "rollout/engine=replay rollout.engine.path=a rollout.save=b": (
        "rollout.save has nothing to save under rollout/engine=replay: drop one of them"
    ),
    # several values without -m, and flags
    "seed=0,1": "'seed=0,1' names several values: add -m to run them all",
    "'seed=range(0,3)'": "'seed=range(0,3)' names several values: add -m to run them all",
    "hydra.mode=MULTIRUN": "'hydra.mode=MULTIRUN': write -m for a sweep, nothing for a run",
    # how a sweep is run
    "hydra/launcher=joblib": "hydra/launcher=joblib is for a sweep: add -m, or leave it out",
    "hydra/sweeper=optuna": "hydra/sweeper=optuna is for a sweep: add -m, or leave it out",
    "sweep.resume=true": "sweep.resume=true is for a sweep: add -m, or leave it out",
    "sweep.resume=1": "sweep.resume must be true or false, got 1: write true",
    "command=check sweep.resume=true": (
        "sweep.resume=true skips what has been trained before: leave it out with command=check"
    ),
    "-m seed=0,1 hydra.sweep.subdir=x": (
        "hydra.sweep.subdir=x: the folder of a job is found by its number, leave it out "
        "(hydra.sweep.dir is where these folders are)"
    ),
    "--multi": (
        "unknown flag '--multi'; did you mean '--multirun'? (a setting is key=value; --help lists "
        "what there is)"
    ),
    "--seed=3": "unknown flag '--seed=3'; a setting has no dashes: write seed=3",
    "--config-dir x": (
        "'--config-dir' is a flag of Hydra that slime does not have: your own recipes are found "
        "through SLIME_RECIPES=<folder>"
    ),
    "--package loss": "--package goes with --cfg job",
    "--cfg job -m": "--cfg prints one config: drop --multirun",
    "--cfg job --package los": "--package los: no such node; try --cfg job alone",
    # Hydra's own node
    "hydra.run.dri=x": HYDRA.format("hydra.run.dri=x", "did you mean 'hydra.run.dir'?"),
    "hydra.job.chdir=true": HYDRA.format("hydra.job.chdir=true", "leave it out"),
    "+hydra.callbacks.x._target_=os.system": (
        "'+hydra.callbacks.x._target_=os.system': _target_ would run code: it may not be set"
    ),
    "+hydra.launcher.x=1": WITHOUT_PLUS.format("+hydra.launcher.x=1"),
    "++hydra.launcher.x=1": WITHOUT_PLUS.format("++hydra.launcher.x=1"),
    "-m seed=0,1 +hydra.launcher.x=1": WITHOUT_PLUS.format("+hydra.launcher.x=1"),
    "-m seed=0,1 +hydra.sweeper.x=1": WITHOUT_PLUS.format("+hydra.sweeper.x=1"),
    "hydra.run.dir=[a]": "hydra.run.dir must be one folder: write hydra.run.dir=<a folder>",
    "-m seed=0,1 hydra.sweep.dir={a:b}": (
        "hydra.sweep.dir must be one folder: write hydra.sweep.dir=<a folder>"
    ),
    "'hydra.run.dir=${oc.env:NOT_SET_ANYWHERE}'": (
        "hydra.run.dir: NOT_SET_ANYWHERE is not set in the environment; with a default: "
        "${oc.env:NOT_SET_ANYWHERE,default}"
    ),
    "'hydra.run.dir=${hydra:nothing}'": (
        "hydra.run.dir: ${hydra:...} has no value yet: write ${now:%Y-%m-%d} or ${key}"
    ),
    "'hydra.run.dir=${eval:1}'": (
        "hydra.run.dir: there is no 'eval' to ask; write ${key} or ${oc.env:NAME}"
    ),
    "hydra.job.name=": "hydra.job.name must be a name: write hydra.job.name=<a name>",
    "hydra.job.name=[a]": "hydra.job.name must be a name: write hydra.job.name=<a name>",
    "hydra.job.env_set=3": "'hydra.job.env_set=3': write +hydra.job.env_set.NAME=text",
    "+hydra.job.env_set.A=[1]": "'+hydra.job.env_set.A=[1]': write +hydra.job.env_set.NAME=text",
    "hydra.job.env_copy=3": "'hydra.job.env_copy=3': write hydra.job.env_copy=[NAME]",
    "cluster.allowed_imports=[1]": (
        "cluster.allowed_imports holds '1': write package or package.module"
    ),
    "hydra.searchpath=[/x]": HYDRA.format("hydra.searchpath=[/x]", "leave it out"),
    "-m seed=0,1 hydra.launcher.n_jobs=2": (
        "'hydra.launcher.n_jobs' is not used by the basic launcher: write hydra/launcher=joblib, "
        "or another (in every job)"
    ),
    "command=diff recipe=dapo/v1,grpo/v1 against=dapo/v1": (
        "'recipe=dapo/v1,grpo/v1': command=diff looks at one config: write one value"
    ),
    "parallel.data=1000000": (
        "parallel.data x context x tensor x pipeline = 1000000 train workers are more than this "
        f"machine can run, at most {16 * cores()}: write smaller ones, or cluster=existing"
    ),
    "cluster.address=localhost:99999": (
        "cluster.address=localhost:99999: a port is a number from 1 to 65535"
    ),
    "reward=function reward.function=json:nope": ("reward.function=json:nope: json has no nope"),
    "reward=function reward.function=json:detect_encoding": (
        "reward.function=json:detect_encoding must take (response, answer), but takes (b)"
    ),
    "hydra.run.dir=": "hydra.run.dir must not be empty: write hydra.run.dir=<a folder>",
    "hydra.run.dir=null": "hydra.run.dir must not be empty: write hydra.run.dir=<a folder>",
    "hydra.sweep.dir=x": (
        "hydra.sweep.dir is for a sweep: add -m, or write hydra.run.dir=<a folder>"
    ),
    "-m seed=0,1 hydra.run.dir=x": (
        "hydra.run.dir is for one run: with -m write hydra.sweep.dir=<the folder of all jobs>"
    ),
    "-m seed=0,1 'hydra.sweep.dir=${seed}'": (
        "hydra.sweep.dir=${seed}: it is one folder for all jobs and cannot depend on a key"
    ),
    "-m hydra.sweeper.params.seed=1": (
        "'hydra.sweeper.params.seed=1': write the key itself on the command line, e.g. seed=0,1,2"
    ),
    "-m seed=0,1 hydra.sweeper.max_batch_size=0": (
        "hydra.sweeper.max_batch_size must be a whole number of at least 1, got 0"
    ),
    "-m 'seed=range(0,3,0)'": "'seed=range(0,3,0)': the step of a range cannot be 0",
    "-m 'seed=range(0,1000000000)'": (
        "the sweep has 1000000000 jobs, and 10000 are the most: sweep over fewer values"
    ),
    "-m 'seed=choice()'": (
        "cannot read 'seed=choice()': choice(a,b) is how choice is written, closed by its bracket"
    ),
    "'seed =1'": "cannot read 'seed =1': write seed=1, without spaces around the '='",
    "'loss.divisor = 40960'": (
        "cannot read 'loss.divisor = 40960': write loss.divisor=40960, without spaces around the "
        "'='"
    ),
    "loss/aggregation=constant loss/divisor=5": (
        "'loss/divisor' is a key, not a group: write loss.divisor=5"
    ),
    "loss/aggregation=constant loss.divisor:40960": (
        "cannot read 'loss.divisor:40960': write loss.divisor=40960"
    ),
    "loss/aggregation=CONSTANT loss.divisor=5000": (
        "unknown loss/aggregation 'CONSTANT'; did you mean 'constant'? (valid: constant, custom, "
        "dr_grpo, prompt_mean, sample_mean, token_mean)"
    ),
    "-multirun seed=0": "--multirun stands alone: write --multirun, and settings after it",
    "hydra.run.dir=/dev/null/runs": (
        "cannot write to /dev/null/runs (not a directory): pass hydra.run.dir=<a folder you may "
        "write to>"
    ),
    "hydra.run.dir=/dev/null": (
        "cannot write to /dev/null (file exists): pass hydra.run.dir=<a folder you may write to>"
    ),
    # trackers
    "tracking=wandbb": (
        "unknown tracking 'wandbb'; did you mean 'wandb'? (valid: mlflow, none, tensorboard, wandb)"
    ),
    "tracking.mode=online": (
        "'tracking.mode' is not used by tracking=tensorboard; it belongs to wandb"
    ),
    "tracking=wandb tracking.uri=http://localhost:5000": (
        "'tracking.uri' is not used by tracking=wandb; it belongs to mlflow"
    ),
    "tracking=wandb tracking.mode=on": (
        "tracking.mode must be one of its choices, got 'on' (valid: offline, online)"
    ),
    "tracking=wandb tracking.api_key=c0ffee": (
        "unknown key 'tracking.api_key' (valid keys of tracking: group, mode, project, run_name, "
        "samples_per_iteration)"
    ),
    "tracking=wandb tracking.project=": "tracking.project must not be empty",
    "tracking=wandb tracking.group=": "tracking.group must not be empty",
    "tracking=mlflow tracking.run_name=": "tracking.run_name must not be empty",
    "tracking=mlflow tracking.experiment=": "tracking.experiment must not be empty",
    "tracking=mlflow tracking.uri=mlruns": f"{STORE} got 'mlruns'",
    "tracking=mlflow tracking.uri=file:///tmp/mlruns": f"{STORE} got 'file:///tmp/mlruns'",
    "tracking=mlflow tracking.uri=https://me:hunter2@host": (
        "tracking.uri must not hold a password, it would be written to resolved.yaml: drop it and "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
    ),
    # what small files say
    "model=path model.path=/no/where": "model.path: /no/where is not a folder",
    "task=jsonl task.path=/no/where": "task.path: /no/where does not exist",
    "rollout.save=/dev/null/saved": (
        "rollout.save: cannot make /dev/null/saved (/dev/null is not a folder)"
    ),
    "rollout/engine=replay rollout.engine.path=/no/where": (
        "rollout.engine.path: /no/where is not a folder"
    ),
}

SEVERAL_LINES = {
    "rollout/engine=demonstrations": [
        "rollout.samples_per_prompt=8: rollout/engine=demonstrations has one answer for a prompt; "
        "write rollout.samples_per_prompt=1",
        "loss/objective=ppo weighs how likely an answer was to be sampled, and those of "
        "rollout/engine=demonstrations were not: write loss/objective=sft",
        "advantage=grpo tells good answers from bad ones, and rollout/engine=demonstrations gives "
        "right ones only: write advantage=constant",
    ],
    "foo=1 +bar=2 iterations=0 loss/aggregation=constant model=tinny seed=true loss.empty_units=": [
        f"unknown model 'tinny'; did you mean 'tiny'? {MODELS}",
        f"unknown key 'foo' {TOP}",
        f"unknown key 'bar' {TOP}",
        "seed must be a whole number, got true",
        "loss.empty_units must be one of its choices, got '' (valid: count, drop)",
        NO_DIVISOR,
        "iterations must be at least 1, got 0",
    ],
    "loss={empty_units:drop,foo:2,kl:{coefficient:3}} steps_per_iteration=0": [
        f"unknown key 'loss.foo' {LOSS}",
        "'loss.kl.coefficient' is not used by loss/kl=none; it belongs to k1|k2|k3",
        "steps_per_iteration must be at least 1, got 0",
    ],
    "task=jsonl task.path= task.evaluation_path= model=path model.path=": [
        "model.path must not be empty",
        "task.path must not be empty",
        "task.evaluation_path must not be empty",
    ],
}


@pytest.mark.parametrize("line", ONE_LINE)
def test_a_mistake_gets_one_line_and_exit_code_2_and_writes_nothing(line, command, tmp_path):
    ended = command(*shlex.split(line))
    assert ended.messages == [ONE_LINE[line]]
    assert (ended.exit_code, ended.out, ended.trained) == (2, "", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", SEVERAL_LINES)
def test_every_mistake_is_told_at_once(line, command, tmp_path):
    ended = command(*shlex.split(line))
    assert ended.messages == SEVERAL_LINES[line]
    assert ended.exit_code == 2
    assert not list(tmp_path.iterdir())
