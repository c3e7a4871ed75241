"""What may differ in an extension, and where its state begins again."""

import pytest

from clipkit.training.extension import extend_state, is_extendable
from clipkit.training.resume import TrainerState


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("compute.epochs", True),
        ("data.train", True),
        ("watch.patience", True),
        ("seed", False),
        ("compute.batch_size", False),
        ("optimizer.layer_decay", False),
    ],
)
def test_only_what_keeps_the_model_and_its_loss_may_differ(key: str, *, expected: bool) -> None:
    assert is_extendable(key) is expected


def test_other_pairs_begin_with_the_next_epoch() -> None:
    """12 steps of 5 are three epochs begun; of 7 they are 21 batches."""
    state = TrainerState(
        step=12, num_worse=2, is_ended_early=True, best_score=0.5, warmup=(0, 3), bad={"a": "b"}
    )
    extend_state(
        state,
        schedule="constant",
        former_steps_per_epoch=5,
        steps_per_epoch=7,
        has_other_pairs=True,
        has_other_measurements=True,
    )
    assert (state.position, state.schedule_begin, state.warmup) == (21, 12, (0, 3))
    assert (state.num_worse, state.is_ended_early, state.best_score) == (0, False, None)
    assert state.num_former_bad == 1
