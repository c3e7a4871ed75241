"""Old names of keys lead to names that exist, and nothing else is renamed."""

from clipkit.runs.validation import RETENTION_ACCURACY
from clipkit.training.config import RunConfig
from clipkit.training.config_errors import field_types, section_types
from clipkit.training.key_names import (
    OTHER_TRAINERS,
    RENAMED_METRICS,
    RENAMED_SETTINGS,
    rename,
)


def test_every_name_leads_to_a_setting() -> None:
    sections = section_types(RunConfig)
    dotted = {f"{name}.{key}" for name, kind in sections.items() for key in field_types(kind)}
    plain = {key.rpartition(".")[2] for key in dotted} | field_types(RunConfig).keys()
    assert set(RENAMED_SETTINGS.values()) <= dotted
    assert not RENAMED_SETTINGS.keys() & dotted
    assert set(OTHER_TRAINERS.values()) <= plain
    assert not OTHER_TRAINERS.keys() & plain


def test_values_and_their_order_stay() -> None:
    entry = {"step": 3, "tripwire_accuracy": 0.5, "tripwire": 1, "retention_accuracy_2": 2}
    expected = [
        ("step", 3),
        (RETENTION_ACCURACY, 0.5),
        ("tripwire", 1),
        ("retention_accuracy_2", 2),
    ]
    assert list(rename(entry, RENAMED_METRICS).items()) == expected
