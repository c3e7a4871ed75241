"""Probes: small sets of images with known answers, each of which asks a model for one ability.

Each trial is a forced choice: of k prompts that differ in what is asked only, the one of highest
cosine to the image. Prompts and values are balanced, so that a model that prefers a prompt, or
looks at anything but what is asked, is right in one of k trials.

The values of a group share no word or motif with those of other groups: a model without the ability
is as likely to match the prompts and values of a group in any other way, and independently of what
it does in other groups. :func:`clipkit.metrics.permutation.permutation_test` rests on that.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from clipkit.errors import InputError
from clipkit.inputs.scene import Scene


@dataclass(frozen=True)
class Trial:
    """One image and the prompts that it is asked with."""

    scene: Scene
    shows: str  # the image in words, for a person
    group: int
    value: int  # of the group: the right prompt's number
    prompts: tuple[str, ...]  # one a value of the group


@dataclass(frozen=True)
class Probe:
    """Trials that ask for one ability.

    Raises:
        InputError: If the trials are not balanced.
    """

    name: str
    ability: str  # after "can": "tell colours apart"
    failure: str  # of a model that is worse than chance, after its name: "takes red for blue"
    groups: tuple[tuple[str, ...], ...]  # names of the values
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        """Check that no prompt is right more often than another one."""
        counts = Counter((trial.group, trial.prompts, trial.value) for trial in self.trials)
        for group, prompts, _ in counts:
            size = len(self.groups[group])
            found = [counts[group, prompts, value] for value in range(size)]
            if len(prompts) != size or len({*prompts}) != size or len({*found}) != 1:
                raise InputError(
                    f"the probe {self.name} is not balanced: of {size} values, the prompts "
                    f"{prompts} are right {found} times"
                )

    @property
    def prompts(self) -> list[tuple[str, ...]]:
        """All sets of prompts, each once, in the order of the trials."""
        return list(dict.fromkeys(trial.prompts for trial in self.trials))


def article(name: str) -> str:
    """Return a name with its indefinite article.

    Args:
        name: Whose first letter decides.

    Returns:
        "a" or "an" and the name.

    Example:
        >>> article("owl"), article("red owl")
        ('an owl', 'a red owl')
    """
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def choices(values: Iterable[str], templates: Iterable[str]) -> list[tuple[str, ...]]:
    """Return one set of prompts a template, with the values in its {}.

    Args:
        values: Names.
        templates: Each with one {}.

    Returns:
        A prompt a value, in their order.

    Example:
        >>> choices(["cat", "dog"], ["{}", "a photo of a {}"])
        [('cat', 'dog'), ('a photo of a cat', 'a photo of a dog')]
    """
    names = list(values)
    return [tuple(template.format(name) for name in names) for template in templates]
