"""The moving average of weights against one by hand, torch's and timm's."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clipkit.models.checkpoint import load_towers
from clipkit.models.freezing import freeze_batch_norm, lock_image_tower
from clipkit.models.lora import LoraSettings, add_lora
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.weight_average import WeightAverage

Make = Callable[..., TrainedTowers]
NUM_STEPS = 12


@pytest.fixture
def towers(towers_of: Make) -> Towers:
    """Towers with batch norms, in float32."""
    return towers_of("resnet").float().towers


def steps(towers: Towers) -> Iterator[int]:
    """Move whatever is trained, and the running statistics, so often; yield the steps from 1."""
    generator = torch.Generator().manual_seed(7)
    for number in range(1, NUM_STEPS + 1):
        with torch.no_grad():
            for parameter in towers.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator))
            for name, buffer in towers.named_buffers():
                if "running" in name:
                    buffer.add_(torch.rand(buffer.shape, generator=generator))
                if "num_batches" in name:
                    buffer.add_(1)
        yield number


def test_the_first_updates_forget_the_start(towers: Towers) -> None:
    """The decay is 2/11, 3/12, 4/13, ... and 0.4 from the sixth on: (1 + 6) / (10 + 6) > 0.4."""
    average = WeightAverage(towers, 0.4)
    expected = {
        name: tensor.double().clone()
        for name, tensor in towers.model.state_dict().items()
        if tensor.is_floating_point()
    }
    decays = [2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, *[0.4] * 7]

    for number in steps(towers):
        average.update(number)
        decay = decays[number - 1]
        now = towers.model.state_dict()
        for name, before in expected.items():
            expected[name] = decay * before + (1 - decay) * now[name].double()

    assert {"visual.bn1.running_var", "logit_scale"} < average.tensors.keys() == expected.keys()
    for name, tensor in average.tensors.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-5)


def test_with_a_constant_decay_it_is_that_of_torch_and_of_timm(towers: Towers) -> None:
    """One of 0.1 is below 2/11, where the first updates begin."""
    average = WeightAverage(towers, 0.1)
    of_timm = ModelEmaV3(towers.model, decay=0.1)
    move = get_ema_multi_avg_fn(0.1)  # type: ignore[no-untyped-call]
    of_torch = AveragedModel(towers.model, multi_avg_fn=move, use_buffers=True)
    of_torch.update_parameters(towers.model)  # the first one copies

    for number in steps(towers):
        average.update(number)
        of_timm.update(towers.model)
        of_torch.update_parameters(towers.model)

    # The buffers that no state dict has, such as the text tower's mask, torch averages to nan.
    for name, tensor in average.tensors.items():
        assert torch.equal(tensor, of_timm.module.state_dict()[name]), name
        assert torch.equal(tensor, of_torch.module.state_dict()[name]), name


def test_towers_that_have_it_share_what_is_frozen(towers: Towers) -> None:
    lock_image_tower(towers, unlocked_groups=1)
    freeze_batch_norm(towers)
    before = copy.deepcopy(towers.state_dict())
    average = WeightAverage(towers, 0.1)
    found = average.averaged_towers()
    for number in steps(towers):
        average.update(number)

    trained = dict(towers.named_parameters())
    moved = 0
    for name, parameter in found.named_parameters():
        own = trained[name]
        assert parameter.requires_grad == own.requires_grad
        if own.requires_grad:
            moved += 1
            assert torch.equal(parameter, average.tensors[name.removeprefix("model.")])
            assert not torch.equal(parameter, own) and not torch.equal(parameter, before[name])
        else:
            assert parameter is own
    assert 0 < moved < len(trained)
    assert found.model.visual is not towers.model.visual
    images = torch.rand(2, 3, 32, 32)
    assert bool(found.eval().image_features(images).isfinite().all())
    assert towers.model.logit_scale.requires_grad


def test_batch_norms_count_on(towers: Towers) -> None:
    found = WeightAverage(towers, 0.1).averaged_towers()
    for _ in steps(towers):
        pass
    assert int(found.model.visual.bn1.num_batches_tracked) == NUM_STEPS


def test_of_adapters_only_theirs_is_kept(tiny_checkpoint: Path) -> None:
    base = DirectorySource("tiny", tiny_checkpoint)
    tiny_towers = load_towers(base)
    add_lora(tiny_towers, LoraSettings(rank=2), base=base, tokenizer_digest="0" * 16, seed=0)
    average = WeightAverage(tiny_towers, 0.1)
    found = average.averaged_towers()
    for number in steps(tiny_towers):
        average.update(number)

    assert all(name.endswith(("lora_A", "lora_B")) for name in average.tensors)
    frozen = [p for p in tiny_towers.parameters() if not p.requires_grad]
    kept: list[Any] = list(found.parameters())
    assert all(any(p is one for one in kept) for p in frozen)
    inputs: Tensor = torch.rand(2, 3, *found.image_size)
    assert not torch.equal(found.image_features(inputs), tiny_towers.image_features(inputs))
    assert found.lora == tiny_towers.lora
