"""What a run is given from Python beside its config: datasets in memory, and a loss."""

from dataclasses import dataclass, fields
from pathlib import Path

from clipkit.data.map_style import MapStyleDataset
from clipkit.errors import InputError
from clipkit.training.config import LossConfig, RunConfig
from clipkit.training.data_config import DataConfig
from clipkit.training.loss_function import LossFunction, check_loss_function

# Settings of data that say how files are read, and those of loss that a loss of one's own replaces.
_OF_FILES = (
    "format",
    "image_column",
    "caption_column",
    "caption_ending",
    "class_names",
    "templates",
)
_OF_STREAMS = ("stream", "samples_per_epoch")
_OF_CLIPKITS_LOSS = ("kind", "matryoshka_dims", "row_chunk")


@dataclass(frozen=True)
class Given:
    """The datasets and the loss that train and check take; None: what the config says."""

    dataset: MapStyleDataset | None = None
    validation: MapStyleDataset | None = None
    loss: LossFunction | None = None
    # Where the features of a locked image encoder are kept, for several runs one after another;
    # None: in the run's directory.
    features: Path | None = None

    def check(self, config: RunConfig) -> None:
        """Raise if a config and what is given beside it contradict each other.

        Args:
            config: Of the run.

        Raises:
            InputError: If there are pairs to train on twice or nowhere, settings are for what is
                not there, or the loss cannot be trained with.
        """
        data = config.data
        if self.dataset is not None:
            self._check_dataset(data)
        elif not data.train:
            raise InputError(
                '[data] needs train, for example train = "photos"; or from Python a dataset, as in '
                "clipkit.train(config, dataset=pairs). A run that was begun with a dataset is "
                "resumed with it"
            )
        if self.validation is not None and (data.validation or data.validation_fraction):
            name = "validation" if data.validation else "validation_fraction"
            raise InputError(
                f"there are pairs to validate on twice: data.{name} is set, and validation= is "
                "given; leave one of them out"
            )
        if self.loss is not None:
            check_loss_function(self.loss)
            for name in _changed(config.loss, _OF_CLIPKITS_LOSS):
                raise InputError(
                    f"loss.{name} is for clipkit's own loss, which the one that is given replaces: "
                    "leave it out"
                )

    def _check_dataset(self, data: DataConfig) -> None:
        if data.train:
            raise InputError(
                f"there are pairs to train on twice: data.train is {data.train[0].path!r}, and "
                "dataset= is given; leave one of them out"
            )
        unused = _changed(data, _OF_STREAMS if data.validation else (*_OF_FILES, *_OF_STREAMS))
        for name in unused:
            raise InputError(
                f"data.{name} says how files are read, and dataset= gives pairs that are none: "
                "leave it out"
            )


def _changed(config: DataConfig | LossConfig, names: tuple[str, ...]) -> list[str]:
    """Return which settings are not left at their defaults."""
    usual = {field.name: field.default for field in fields(config)}
    return [name for name in names if getattr(config, name) != usual[name]]
