"""Fingerprints of what a run is trained with: a checkpoint is resumed with the same inputs only."""

from collections.abc import Mapping
from typing import Any

from clipkit.errors import TrainingError
from clipkit.training.config import RunConfig
from clipkit.training.extension import EXTENDABLE_SOURCES
from clipkit.training.key_names import RENAMED_SETTINGS, rename


class InputFingerprints:
    """Fingerprints of a run's inputs (pairs, base model, teacher), by the setting that names each.

    Args:
        config: The run.
        fingerprints: Of its inputs, by names as "data.train".
    """

    def __init__(self, config: RunConfig, fingerprints: Mapping[str, str]) -> None:
        self._data = config.data
        self.by_setting = dict(fingerprints)

    def changed(self, saved: Mapping[str, Any]) -> list[str]:
        """Return the settings whose inputs are others than those of a checkpoint's run, sorted.

        Args:
            saved: The checkpoint's training state.

        Returns:
            Names as "data.train".
        """
        before = rename(saved.get("sources", {}), RENAMED_SETTINGS)
        settings = sorted(before.keys() | self.by_setting.keys())
        return [name for name in settings if before.get(name) != self.by_setting.get(name)]

    def refuse(self, changed: list[str], *, extends: bool) -> None:
        """Raise if inputs differ that may not.

        Args:
            changed: Settings whose inputs differ.
            extends: Whether the run is extended.

        Raises:
            TrainingError: If one of them may not, with what to do.
        """
        for setting in changed:
            may_differ = setting in EXTENDABLE_SOURCES
            if not (extends and may_differ):
                how = ", or go on with it as it is by --extend (in Python extend=True)"
                raise TrainingError(
                    f"{self._what_is(setting)} has changed since this run was trained with it: put "
                    f"it back to resume{how if may_differ else ''}, or choose another output"
                )

    def _what_is(self, setting: str) -> str:
        """Return what a fingerprint is of, for messages."""
        data = self._data
        if setting == "loss":
            return "whether a loss is given (loss=)"
        if setting == "data.train" and not data.train:
            return "the dataset that is given"
        if setting == "data.validation" and not (data.validation or data.validation_fraction):
            return "the validation dataset that is given"
        return f"what {setting} names"
