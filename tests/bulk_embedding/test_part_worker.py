"""What a part may do to the process that is at it."""

import json
import signal
from pathlib import Path

import pytest

import clipkit
from clipkit.bulk_embedding.embed import EmbedOptions, embed_source
from clipkit.bulk_embedding.separate_process import embed_apart
from tests.bulk_embedding.deadly import DEADLY, deadly_environment, start_embed
from tests.bulk_embedding.made_sources import COLORS, image_bytes, make_folder, part_contents


def test_a_part_that_a_worker_was_lost_at_is_done_by_a_process_of_its_own_to_the_same_bytes(
    tmp_path: Path, starter: clipkit.Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_folder(tmp_path / "photos", 4)
    (photos / "bad.png").write_text("no image")
    options = EmbedOptions(part_size=3)
    embed_source(photos, tmp_path / "whole", starter, options=options)
    (tmp_path / "out" / "begun").mkdir(parents=True)
    embed_source(photos / "inside", tmp_path / "out", starter, options=options)  # the manifest
    (tmp_path / "out" / "part-00000.parquet").unlink()
    (tmp_path / "out" / "begun" / "part-00001.json").write_text('{"pid": 1}')
    apart: list[int] = []
    real = embed_apart

    def noted(*given: object) -> object:
        apart.append(1)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("clipkit.bulk_embedding.part_worker.embed_apart", noted)
    report = embed_source(photos, tmp_path / "out", starter, options=options)
    assert (report.num_embedded, report.num_unread, report.num_retried) == (4, 1, 1)
    assert apart == [1]
    assert part_contents(tmp_path / "out") == part_contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_an_image_that_kills_the_process_costs_itself(tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", 6)
    (photos / "1-deadly.png").write_bytes(image_bytes(COLORS[7]) + DEADLY)
    environment = deadly_environment(tmp_path / "site")
    words = [photos, tmp_path / "out", "--part-size", 3, "--precision", "fp32"]
    first = start_embed(words, environment)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    second = start_embed(words, environment)
    out, err = second.communicate()
    assert second.returncode == 0, err
    report = json.loads(out)
    (unread,) = report["unread"]
    assert unread["path"] == "1-deadly.png"
    assert "ended the process that read it, twice" in unread["reason"]
    assert (report["num_embedded"], report["num_retried"]) == (6, 1)
