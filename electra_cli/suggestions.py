"""The nearest name for one that does not exist, by the words that other programs use too."""

import difflib
from collections.abc import Collection, Iterable, Mapping

MAX_COMPARED_CHARS = 80  # comparing long names takes long
_SIMILAR = 0.65  # of 1; by difflib's 0.6, vocab_size is near batch_size and notes near steps

# What Hugging Face's TrainingArguments, the authors' flags, fairseq and PyTorch users call ours.
# A name that begins with -- is an argument of some command; the first one that exists is taken.
_OTHER_WORDS = {
    "--learning-rate optim.learning_rate": "lr rate peak_lr max_lr base_lr",
    "--steps run.num_steps finetune.epochs": "steps num_steps max_steps num_train_steps "
    "train_steps training_steps total_steps iterations iters max_iters num_iterations max_updates "
    "total_num_update",
    "--epochs run.num_steps": "epoch epochs num_epochs num_train_epochs max_epochs n_epochs",
    "--batch-size run.batch_size": "bs batch train_batch_size global_batch_size total_batch_size",
    "run.micro_batch_size": "per_device_train_batch_size per_gpu_train_batch_size micro_batch mbs "
    "device_batch_size gradient_accumulation_steps gradient_accumulation accumulation grad_accum "
    "accumulation_steps accumulate_grad_batches update_freq",
    "optim.num_warmup_steps finetune.warmup_fraction": "warmup warmup_steps warmup_updates "
    "warmup_ratio warmup_proportion num_warmup",
    "optim.weight_decay": "wd decay weight_decay_rate l2",
    "optim.adam_beta1": "beta1",
    "optim.adam_beta2": "beta2 betas",
    "optim.adam_epsilon": "eps epsilon adam_eps",
    "optim.max_grad_norm": "clip grad_clip clip_grad clip_norm gradient_clipping max_norm "
    "clip_grad_norm gradient_clip_val",
    "--max-seq-length data.max_seq_length": "max_len max_length maxlen max_seq_len seq_len "
    "seq_length sequence_length block_size context_length max_tokens",
    "--precision run.precision": "fp16 bf16 fp32 tf32 amp half mixed_precision dtype float16 "
    "bfloat16",
    "--device run.device": "gpu gpus cuda no_cuda use_cpu cpu accelerator mps",
    "--data data.directory --out": "data_dir dataset_path dataset train_file train_data input "
    "corpus data_path",
    "--run-name --out": "output_dir output outdir out_dir save_dir model_dir logging_dir o",
    "--run-name --study": "name run run_id experiment exp_name",
    "finetune.encoders --preset": "model model_size size config config_file model_name "
    "model_name_or_path",
    "--init-from": "init_checkpoint init from_pretrained pretrained pretrained_model load_from",
    "--processes": "nproc nproc_per_node num_processes num_gpus n_gpu world_size ddp devices",
    "run.report_to": "wandb use_wandb tensorboard mlflow trackio tracker logger",
    "--step": "checkpoint resume_from_checkpoint ckpt",
    "--trials": "n_trials num_trials",
    "--max-minutes": "timeout time_limit max_time minutes",
    "--vocab-size": "vocab vocabulary vocabulary_size num_pieces",
    "--tokenizer": "tokenizer_name tokenizer_path vocab_file",
    "--column finetune.text": "text_column field key text_key json_key column_name content "
    "text_field",
    "--subset": "config_name configuration dataset_config_name",
    "--validation-fraction": "val_split validation_split valid_fraction test_size val_fraction "
    "validation validation_split_percentage eval_fraction",
    "--max-bytes": "limit max_samples max_train_samples max_documents sample_size",
    "--replace-broken": "encoding errors ignore_errors",
    "--workers": "num_workers num_proc threads jobs processes n_jobs preprocessing_num_workers j",
    "--watch": "follow live refresh",
    "finetune.label": "label_column target_column label_key",
    "run.seed finetune.seeds": "random_seed random_state manual_seed",
    "run.log_every": "logging_steps log_interval log_steps log_every_n_steps",
    "run.eval_every": "eval_steps eval_interval val_check_interval evaluation_steps",
    "run.save_every": "save_steps save_checkpoints_steps checkpoint_every save_interval",
    "run.keep_checkpoints": "save_total_limit keep_checkpoint_max max_to_keep",
    "run.compile": "torch_compile",
    "objective.name": "electra_objective task loss",
    "objective.mask_fraction": "mask_prob mlm_probability mask_rate mask_ratio masking",
    "objective.generator_loss_weight": "gen_weight generator_weight mlm_weight",
    "objective.discriminator_loss_weight": "disc_weight discriminator_weight rtd_weight lambda "
    "loss_weight",
    "model.hidden_size": "hidden dim d_model width n_embd embed_dim",
    "model.num_hidden_layers finetune.layers": "num_layers n_layers n_layer layers depth "
    "encoder_layers",
    "model.num_attention_heads": "heads n_heads n_head num_heads",
    "model.intermediate_size": "ffn d_ff ffn_dim ffn_size",
    "model.hidden_dropout_prob finetune.dropout": "dropout",
    "model.attention_probs_dropout_prob": "attention_dropout",
    "model.generator_width": "generator_hidden_size generator_size",
    "model.generator_depth": "generator_layers",
    "model.tie_encoders": "untied_generator",
}
# Arguments beside the options of every command that takes a preset.
_BESIDE_OPTIONS = ("--preset", "--run-name", "--max-minutes")
_NAMES_BY_WORD = {
    word: names.split() for names, words in _OTHER_WORDS.items() for word in words.split()
}


def nearest_option(name: str, known: Collection[str]) -> str | None:
    """The option `section.key` of `known` that this name means; None without a similar one.

    An argument such as --run-name where other programs have an option and we have that.
    """
    key = _plain(name.rpartition(".")[2])
    by_key = {option.rpartition(".")[2]: option for option in known}
    meant = _NAMES_BY_WORD.get(key, [])
    keys = (_plain(name.rpartition(".")[2]) for name in meant)
    return (
        by_key.get(key)  # without its section, or in a wrong one
        or next((by_key[key] for key in keys if key in by_key), None)
        or next((name for name in meant if name in _BESIDE_OPTIONS), None)
        or by_key.get(nearest(key, by_key) or "")
    )


def nearest_argument(name: str, arguments: Collection[str], options: Mapping[str, str]) -> str:
    """The argument of a command, such as --steps, that this name means; "" if none is similar.

    `options` says how the command takes each option for which it has no argument.
    """
    word = _plain(name)
    ways = {option.rpartition(".")[2]: way for option, way in options.items()}
    ways |= {_plain(argument): argument for argument in arguments}
    meant = [known for known in _NAMES_BY_WORD.get(word, ()) if known in {*arguments, *options}]
    key = _plain(meant[0].rpartition(".")[2]) if meant else nearest(word, ways)
    return ways.get(key or "", "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar of the known names; None if none is similar."""
    close = difflib.get_close_matches(name[:MAX_COMPARED_CHARS], list(known), 1, _SIMILAR)
    return close[0] if close else None


def _plain(name: str) -> str:
    """`--Weight-Decay` as an option is spelt: weight_decay."""
    return name[:MAX_COMPARED_CHARS].lstrip("-").lower().replace("-", "_")
