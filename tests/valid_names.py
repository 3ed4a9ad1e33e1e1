"""What there is to choose from, as the messages about wrong names list it."""

from pathlib import Path

TOP = (
    "(valid keys: advantage, against, check, checkpoint, cluster, command, evaluation, "
    "incomplete_step, iterations, loss, max_bad_steps, model, optimizer, parallel, plan, report, "
    "reward, rollout, run, runs, seed, steps_per_iteration, sweep, task, tracking)"
)
LOSS = (
    "(valid keys of loss: auxiliary_aggregation, correction, empty_units, entropy_coefficient, kl, "
    "mask_truncated, objective, skip_idle_samples)"
)
ROLLOUT = (
    "(valid keys of rollout: engine, filter, max_prompt_tokens, max_response_tokens, "
    "prompts_per_iteration, samples_per_prompt, save, temperature, top_p)"
)
OPTIMIZER = (
    "(valid keys of optimizer: beta1, beta2, clip_grad, eps, learning_rate, min_learning_rate, "
    "schedule, warmup_steps, weight_decay)"
)
GROUPS = (
    "(valid: advantage, check, checkpoint, cluster, loss/aggregation, loss/correction, loss/kl, "
    "loss/objective, model, optimizer, parallel, recipe, reward, reward/overlong, rollout, "
    "rollout/engine, rollout/filter, task, tracking)"
)
MODES = "(valid: constant, custom, dr_grpo, prompt_mean, sample_mean, token_mean)"
MODELS = (
    "(valid: path, qwen2_5_0_5b, qwen3_0_6b, qwen3_30b_a3b, qwen3_4b, smollm2_135m, tiny, tiny_moe)"
)
_FILES = sorted((Path(__file__).parents[1] / "recipes").glob("*/*.yaml"))
RECIPES = f"(valid: {', '.join(f'{file.parent.name}/{file.stem}' for file in _FILES)})"
