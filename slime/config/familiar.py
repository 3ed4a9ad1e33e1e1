"""What other systems call the things that slime's keys and groups are, for `did you mean`.

Only the idea is the same; docs/coming-from.md says where the numbers are, and where they are not.
"""

_NAMES = {
    "optimizer.learning_rate": "lr actor_lr actor_learning_rate",
    "optimizer.clip_grad": "max_grad_norm grad_clip clip_grad_norm gradient_clipping",
    "optimizer.warmup_steps": "num_warmup_steps lr_warmup_steps lr_warmup_iters",
    "optimizer.schedule": "lr_scheduler lr_scheduler_type lr_decay_style lr_schedule",
    "loss.kl.coefficient": "kl_coef kl_coeff kl_loss_coef kl_beta beta init_kl_coef",
    "loss.entropy_coefficient": "entropy_coef entropy_coeff ent_coef entropy_loss_coef",
    "loss.objective.clip_low": (
        "eps_clip epsilon epsilon_low clip_ratio clip_ratio_low cliprange clip_range clip_eps"
    ),
    "loss.objective.clip_high": "clip epsilon_high eps_clip_high clip_ratio_high clip_eps_high",
    "loss.divisor": "pg_loss_divisor loss_scale_factor loss_denominator",
    "loss.function": "custom_pg_loss_reducer_function_path",
    "loss.correction.cap": "tis_clip tis_imp_ratio_cap",
    "rollout.samples_per_prompt": (
        "n num_generations group_size rollout_n n_samples_per_prompt num_generations_per_prompt"
    ),
    "rollout.prompts_per_iteration": (
        "batch_size train_batch_size rollout_batch_size global_batch_size num_prompts_per_step"
    ),
    "rollout.max_response_tokens": (
        "max_tokens max_new_tokens max_response_length max_completion_length max_response_len "
        "rollout_max_response_len generate_max_len"
    ),
    "rollout.max_prompt_tokens": "max_prompt_length prompt_max_len max_prompt_len",
    "iterations": (
        "epochs num_epochs total_epochs num_train_epochs max_steps num_steps num_rollout "
        "total_training_steps num_iterations train_steps"
    ),
    "evaluation.interval": "eval_interval eval_steps eval_every test_freq val_period",
    "parallel.tensor": "tp tp_size tensor_parallel_size tensor_model_parallel_size",
    "parallel.context": "cp cp_size context_parallel_size",
    "parallel.pipeline": "pp pp_size pipeline_parallel_size pipeline_model_parallel_size",
    "parallel.data": "dp dp_size gpu gpus num_gpus n_gpus_per_node world_size nproc_per_node",
    "parallel.max_tokens_per_microbatch": (
        "max_tokens_per_gpu ppo_max_token_len_per_gpu micro_batch_size per_device_train_batch_size "
        "ppo_micro_batch_size_per_gpu"
    ),
    "parallel.microbatches": "gradient_accumulation_steps grad_accumulation_steps",
    "optimizer.beta1": "betas",
    "model.path": "model_name model_path model_name_or_path pretrain hf_checkpoint",
    "task.path": "dataset dataset_name prompt_data train_files train_file data_path",
    "task.evaluation_path": "val_files val_file eval_dataset",
    "reward.function": "reward_fn reward_func reward_funcs custom_rm_path reward_function",
    "rollout.save": "save_debug_rollout_data",
    "loss/aggregation": (
        "loss_agg_mode loss_type loss_reduction loss_aggregation token_level_loss "
        "calculate_per_token_loss aggregation_mode"
    ),
    "loss/kl": "use_kl_loss kl_loss_type kl_estimator kl_penalty",
    "loss/correction": "use_tis importance_sampling_correction rollout_is",
    "loss/objective": "policy_loss_fn policy_loss_type loss_mode",
    "advantage": "adv_estimator advantage_estimator",
    "model": "model_size",
    "reward": "rm_type reward_model",
    "tracking": "logger report_to use_wandb",
    "rollout/engine": "rollout_backend inference_engine",
}

_CHOICES = {"sequence_mean": "sample_mean", "seq_mean_token_mean": "sample_mean"}

FAMILIAR = {name: ours for ours, names in _NAMES.items() for name in names.split()}


def familiar_choice(name: str) -> str | None:
    """The choice that other systems call so."""
    return _CHOICES.get(name.lower().replace("-", "_"))


def familiar(name: str) -> str | None:
    """The dotted key, or the group, that other systems call so."""
    return FAMILIAR.get(name.lower().replace("-", "_"))
