"""Other names of a run's settings and metrics: those of earlier versions, and of other trainers.

Files of an earlier clipkit are read as if they had the names of today. Names of other trainers are
not accepted; the error message gives ours.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from clipkit.errors import InputError

RENAMED_SETTINGS = {
    "model.start": "model.base",
    "watch.tripwire": "watch.retention_set",
    "watch.tripwire_class_names": "watch.retention_class_names",
    "watch.average_with_start": "watch.wise_ft",
}
"""Settings of RUN.toml, in checkpoints too: the name of an earlier version -> the one of today."""

RENAMED_METRICS = {
    "tripwire_accuracy": "retention_accuracy",
    "tripwire_log_probability": "retention_log_probability",
}
"""Metrics in metrics.jsonl and report.json: the name of an earlier version -> the one of today."""

RENAMED_REPORT_KEYS = {"mixtures": "interpolations"}
"""Keys of report.json: the name of an earlier version -> the one of today."""

OTHER_TRAINERS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "warmup": "warmup_steps",
    "warmup_ratio": "warmup_fraction",
    "num_warmup_steps": "warmup_steps",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "epochs_cooldown": "cooldown_fraction",
    "layer_decay_rate": "layer_decay",
    "ld": "layer_decay",
    "visual_lr": "image_lr_factor",
    "text_lr": "text_lr_factor",
    "num_train_epochs": "epochs",
    "grad_clip_norm": "clip_norm",
    "accum_freq": "chunk_size",
    "max_grad_norm": "clip_norm",
    "adam_epsilon": "eps",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate_batches",
    "fp16": "precision",
    "bf16": "precision",
    "fsdp": "sharding",
    "num_epochs": "epochs",
    "batch": "batch_size",
    "num_workers": "workers",
    "dataloader_num_workers": "workers",
    "pretrained": "base",
    "checkpoint": "base",
    "base_model": "base",
    "lock_image_freeze_bn_stats": "freeze_batch_norm",
    "image_mean": "architecture",
    "image_std": "architecture",
    "image_interpolation": "architecture",
    "image_resize_mode": "architecture",
    "force_image_size": "architecture",
    "force_context_length": "architecture",
    "force_quick_gelu": "architecture",
    "distill_model": "teacher",
    "distill_pretrained": "teacher",
    "siglip": "kind",
    "train_data": "train",
    "val_data": "validation",
    "train_data_upsampling_factors": "train",
    "train_num_samples": "samples_per_epoch",
    "dataset_type": "format",
    "aug_cfg": "augmentation",
    "csv_img_key": "image_column",
    "csv_caption_key": "caption_column",
    "classnames": "class_names",
    "labels": "class_names",
    "flip": "horizontal_flip",
    "logs": "output",
    "imagenet_val": "retention_set",
    "imagenet_v2": "retention_set",
    "val_frequency": "every_epochs",
    "zeroshot_frequency": "every_epochs",
    "eval_steps": "every_epochs",
    "save_frequency": "checkpoint_steps",
    "save_steps": "checkpoint_steps",
    "save_most_recent": "keep",
    "delete_previous_checkpoint": "keep",
    "save_total_limit": "keep",
    "report_to": "trackers",
    "wandb_project_name": "tracker_project",
    "early_stopping": "patience",
    "r": "lora_rank",
    "lora_r": "lora_rank",
    "target_modules": "lora_targets",
}
"""What open_clip_train and others call a setting, where spelling alone does not lead to ours."""


def rename(content: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a dict with the names of today; what has them already stays.

    Args:
        content: Of a file that an earlier version may have written.
        names: From the earlier name to the one of today.

    Returns:
        The same values in the same order.
    """
    return {names.get(key, key): value for key, value in content.items()}


def rename_settings(content: dict[str, Any]) -> Iterator[str]:
    """Give the settings of a RUN.toml the names of today, in place.

    Args:
        content: Sections and keys.

    Yields:
        What was renamed, each as "watch.tripwire is now watch.retention_set".

    Raises:
        InputError: If a setting is there under both names.
    """
    for old, new in RENAMED_SETTINGS.items():
        section, _, key = old.partition(".")
        settings = content.get(section)
        if not isinstance(settings, dict) or key not in settings:
            continue
        new_key = new.partition(".")[2]
        if new_key in settings:
            raise InputError(f"{old} is an earlier name of {new}, and both are set: delete {old}")
        settings[new_key] = settings.pop(key)
        yield f"{old} is now {new}"
