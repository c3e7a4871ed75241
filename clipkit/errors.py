"""All exceptions and warnings of clipkit, as one tree.

    ClipkitError                       catch this to catch them all
      InputError (also ValueError)     wrong shape, type, range, or nothing at all
        ImageReadError                 one image that cannot be read; carries path and reason
        PromptError                    a template without a {} or with more than one
      CheckpointError                  weights that are missing, damaged or do not fit
        OfflineError                   weights that are not here, and no network to fetch them
      LibraryError                     an image library that is damaged or newer
        NotIndexedError                a folder that has not been indexed yet
        LibraryBusyError               another process is writing to it
        DamagedLibraryError            its index cannot be trusted any more
      SpaceMismatchError               embeddings of two spaces were about to be compared
      TrainingError                    a training run that cannot start or resume
        LostProcessError               another process of the run has ended, this one with it
      MissingExtraError (also ImportError)  an optional part of clipkit is not installed

    ClipkitWarning (also UserWarning)  probably not what was meant; the work is done all the same
      TextCutWarning                   a text was longer than the model reads
      UnknownTextWarning               no word of a text is in the model's vocabulary
      EqualLabelsWarning               labels that the model reads as one
      CutOffImageWarning               an image file lacks its last bytes

A message says what was wrong, what was got, what would be right and what to do.
"""

from pathlib import Path


class ClipkitError(Exception):
    """Base of all exceptions of clipkit."""


class ClipkitWarning(UserWarning):
    """Base of all warnings of clipkit."""


class InputError(ClipkitError, ValueError):
    """A value handed in has the wrong shape, type or range."""


class ImageReadError(InputError):
    """One image cannot be read.

    Args:
        path: Where the image came from: a path, a URL, or a name such as "<bytes>".
        reason: Why it cannot be read, as a clause without a full stop.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def to_dict(self) -> dict[str, str]:
        """Return both parts as JSON has them."""
        return {"path": self.path, "reason": self.reason}

    def __reduce__(self) -> tuple[type["ImageReadError"], tuple[str, str]]:
        """Pickle the error as its two parts, for other processes."""
        return type(self), (self.path, self.reason)


class PromptError(InputError):
    """A prompt template does not have exactly one {} for the class name."""


class CheckpointError(ClipkitError):
    """Weights or their description are missing, damaged, or of another architecture."""


class OfflineError(CheckpointError):
    """Weights are not on this machine and could not be fetched."""


class LibraryError(ClipkitError):
    """An image library cannot be opened or written."""


class NotIndexedError(LibraryError):
    """A folder has not been indexed yet, or not with this model."""


class LibraryBusyError(LibraryError):
    """Another process is writing to an image library."""


class DamagedLibraryError(LibraryError):
    """The index of an image library, or a part of it, has to be made again."""


class SpaceMismatchError(ClipkitError):
    """Embeddings from two different spaces were about to be compared."""


class TrainingError(ClipkitError):
    """A training run cannot start, continue or resume; what it has written so far stays whole."""


class LostProcessError(TrainingError):
    """Another process of a training run on several has ended, so this one has to."""


def how_to_install(extra: str) -> str:
    """Return what to run for an optional part of clipkit, as the end of a sentence.

    Only the pip of an environment that clipkit is installed in knows which clipkit is meant: on
    PyPI the name belongs to another program.
    """
    return f'in the environment of clipkit run  python -m pip install "clipkit[{extra}]"'


class MissingExtraError(ClipkitError, ImportError):
    """An optional part of clipkit is not installed.

    Args:
        extra: The name of the extra, as pyproject.toml has it.
        purpose: What needs it, as the start of a sentence.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an optional part: {how_to_install(extra)}")
        self.extra = extra
        self.purpose = purpose

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross process borders."""
        return type(self), (self.extra, self.purpose)


def advise_model(made_with: str, used: str, *, otherwise: str) -> str:
    """Return what to do about embeddings of another model than the one in use.

    A name stays when its weights change (those of the starter with an update of clipkit, those of a
    directory when a training writes there again), and when its embeddings are cut to fewer
    dimensions.

    Args:
        made_with: The name of the model that made them.
        used: The name of the one in use.
        otherwise: What else can be done, as in "embed again".

    Returns:
        A clause for the end of a message.
    """
    if made_with == used:
        return f"they are of other weights or dimensions of {used}: {otherwise}"
    return f"give --model {made_with}, or {otherwise}"
