"""From a collection to files: what is in them, what another run does, and what it refuses."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

import clipkit
from clipkit.bulk_embedding.embed import EmbedOptions, EmbedReport, embed_source
from clipkit.bulk_embedding.part_worker import PartWorker
from clipkit.data.shard_stream import read_samples
from clipkit.errors import InputError, LibraryError, SpaceMismatchError
from clipkit.progress import Callbacks
from tests.bulk_embedding.made_sources import (
    COLORS,
    digest,
    image_bytes,
    make_folder,
    make_shard,
    part_contents,
)

Embed = Callable[..., EmbedReport]


@pytest.fixture
def embed(tmp_path: Path, starter: clipkit.Encoder) -> Embed:
    """Return a function that embeds tmp_path/photos into tmp_path/out, two images a part."""

    def run(out: str = "out", encoder: clipkit.Encoder = starter, **options: Any) -> EmbedReport:
        source = options.pop("source", tmp_path / "photos")
        chosen = EmbedOptions(**{"part_size": 2} | options)
        return embed_source(source, tmp_path / out, encoder, options=chosen)

    return run


def test_rows_are_the_images_with_half_precision_vectors(
    tmp_path: Path, embed: Embed, starter: clipkit.Encoder
) -> None:
    photos = make_folder(tmp_path / "photos", 5)
    report = embed()
    assert (report.num_embedded, report.num_before, report.num_unread) == (5, 0, 0)
    assert report.num_parts == 3 and report.space_id == starter.space_id
    out = tmp_path / "out"
    names = [f"part-{number:05d}.parquet" for number in range(3)]
    assert list(part_contents(out)) == names
    tables = [parquet.read_table(out / name) for name in names]
    paths = ["0.png", "2.png", "4.png", "inside/1.png", "inside/3.png"]
    assert [path for table in tables for path in table["id"].to_pylist()] == paths
    assert str(tables[0].schema.field("vector").type) == (
        f"fixed_size_list<element: halffloat>[{starter.embed_dim}]"
    )
    rows = np.array([row for table in tables for row in table["vector"].to_pylist()])
    expected = starter.encode_images([photos / path for path in paths])
    np.testing.assert_allclose(rows, expected.astype(np.float16), atol=2e-4)
    for table in tables:
        for path, digest_, size, time in zip(
            *(table[name].to_pylist() for name in ("id", "digest", "size", "mtime_ns")),
            strict=True,
        ):
            content, status = (photos / path).read_bytes(), (photos / path).stat()
            assert digest_ == hashlib.sha256(content).digest()[:16]
            assert (size, time) == (status.st_size, status.st_mtime_ns)
    about = json.loads(tables[0].schema.metadata[b"clipkit"])
    assert about["space_id"] == starter.space_id and about["embed_dim"] == starter.embed_dim
    manifest = json.loads((out / "embeddings.json").read_text())
    assert manifest["space_id"] == starter.space_id and manifest["part_size"] == 2


def test_another_run_does_nothing_and_new_images_get_new_parts(
    tmp_path: Path, embed: Embed
) -> None:
    make_folder(tmp_path / "photos", 3)
    embed()
    before = part_contents(tmp_path / "out")
    again = embed()
    assert (again.num_embedded, again.num_before, again.num_parts) == (0, 3, 0)
    assert part_contents(tmp_path / "out") == before
    make_folder(tmp_path / "photos", 3, start=3)
    more = embed()
    assert (more.num_embedded, more.num_before, more.num_changed) == (3, 3, 0)
    after = part_contents(tmp_path / "out")
    assert before.items() <= after.items() and len(after) == len(before) + 2
    ids = [path for name in after for path in _ids(tmp_path / "out" / name)]
    assert sorted(ids) == ["0.png", "2.png", "4.png"] + [f"inside/{n}.png" for n in (1, 3, 5)]


@pytest.mark.parametrize("layout", ["parquet", "clip-retrieval"])
def test_a_run_that_was_cut_short_is_taken_up_to_the_same_bytes(
    tmp_path: Path, embed: Embed, layout: str
) -> None:
    make_folder(tmp_path / "photos", 7)
    embed("whole", layout=layout)
    whole = part_contents(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    for path in sorted((tmp_path / "out").rglob("*0000[02].*")):
        path.unlink()
    (tmp_path / "out" / ".clipkit-1234.parquet").write_bytes(b"a draft that a kill left")
    report = embed(layout=layout)
    assert (report.num_embedded, report.num_before, report.num_parts) == (4, 3, 2)
    assert part_contents(tmp_path / "out") | {} == whole | {
        ".clipkit-1234.parquet": b"a draft that a kill left"
    }


def test_an_image_that_cannot_be_read_is_in_errors_and_not_tried_again(
    tmp_path: Path, embed: Embed
) -> None:
    photos = make_folder(tmp_path / "photos", 2)
    (photos / "bad.png").write_text("no image")
    (photos / "worse.png").write_bytes(b"")
    report = embed()
    assert (report.num_embedded, report.num_unread) == (2, 2)
    reasons = {error.path: error.reason for error in report.unread}
    assert list(reasons) == ["bad.png", "worse.png"] and "empty (0 bytes)" in reasons["worse.png"]
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "out" / "errors").iterdir())
        for line in path.read_text().splitlines()[1:]
    ]
    assert {line["id"]: line["reason"] for line in lines} == reasons
    again = embed()
    assert (again.num_embedded, again.num_unread, again.num_parts) == (0, 0, 0)
    tried = embed(retry_errors=True)
    assert (tried.num_embedded, tried.num_unread) == (0, 2)
    (photos / "bad.png").write_bytes(image_bytes(COLORS[9]))
    mended = embed()
    assert (mended.num_embedded, mended.num_unread, mended.num_before) == (1, 0, 2)
    files = clipkit.open_embedding_files(tmp_path / "out")
    assert sorted(files.read().ids) == ["0.png", "bad.png", "inside/1.png"]


def test_errors_without_the_vectors_that_came_with_them_are_of_a_part_that_is_not_done(
    tmp_path: Path, embed: Embed
) -> None:
    """As a kill between the two files of a part leaves it."""
    photos = make_folder(tmp_path / "photos", 2)
    (photos / "bad.png").write_text("no image")
    embed()
    whole = part_contents(tmp_path / "out")
    (tmp_path / "out" / "part-00000.parquet").unlink()  # of 0.png and bad.png
    assert not clipkit.open_embedding_files(tmp_path / "out").errors()
    report = embed()
    assert (report.num_embedded, report.num_unread, report.num_before) == (1, 1, 1)
    assert part_contents(tmp_path / "out") == whole
    assert len(clipkit.open_embedding_files(tmp_path / "out").errors()) == 1


def test_of_an_image_that_changed_the_last_vector_counts(
    tmp_path: Path, embed: Embed, starter: clipkit.Encoder
) -> None:
    photos = make_folder(tmp_path / "photos", 3)
    embed()
    (photos / "0.png").write_bytes(image_bytes(COLORS[8]))
    os.utime(photos / "0.png", ns=(1, 1))
    report = embed()
    assert (report.num_embedded, report.num_changed) == (1, 1)
    stored = clipkit.open_embedding_files(tmp_path / "out").read()
    assert sorted(stored.ids) == ["0.png", "2.png", "inside/1.png"]
    row = stored.embeddings[stored.ids.index("0.png")]
    np.testing.assert_allclose(row, starter.encode_image(photos / "0.png"), atol=1e-3)


def test_shards_of_which_one_is_new_and_one_has_gone(tmp_path: Path, embed: Embed) -> None:
    shards = tmp_path / "shards"
    for number in range(2):
        make_shard(shards / f"{number}.tar", {f"{n}.png": image_bytes(COLORS[n]) for n in range(3)})
    assert embed(source=shards).num_embedded == 6
    assert embed(source=shards).num_embedded == 0
    make_shard(shards / "2.tar", {"x.txt": b"no image"})
    report = embed(source=shards)
    assert (report.num_embedded, report.num_unread, report.num_before) == (0, 1, 6)
    assert embed(source=shards).num_unread == 0  # a part without vectors is done as well
    names = sorted(part_contents(tmp_path / "out"))
    assert names == ["part-00000.parquet", "part-00001.parquet"]


def test_a_shard_that_cannot_be_got_at_is_tried_by_the_next_run(
    tmp_path: Path, embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard(tmp_path / "0.tar", {"a.png": image_bytes(COLORS[0])})
    make_shard(tmp_path / "1.tar", {"a.png": image_bytes(COLORS[1])})
    source = str(tmp_path / "{0..1}.tar")
    real = read_samples

    def lost(shard: str, waits: Any) -> Any:
        if shard.endswith("0.tar"):
            raise InputError("the network is away")
        return real(shard, waits)

    with monkeypatch.context() as patch:
        patch.setattr("clipkit.bulk_embedding.parts.read_samples", lost)
        report = embed(source=source)
    assert (report.num_embedded, report.num_failed) == (1, 1)
    assert [str(error) for error in report.skipped] == ["0.tar: the network is away"]
    assert embed(source=source).num_embedded == 1


def test_a_folder_of_another_model_or_of_anything_else_is_refused(
    tmp_path: Path, embed: Embed, starter: clipkit.Encoder
) -> None:
    make_folder(tmp_path / "photos", 1)
    embed()
    other = starter.truncated(64)
    with pytest.raises(SpaceMismatchError, match=r"holds embeddings of starter.*folder of its own"):
        embed(encoder=other)
    with pytest.raises(InputError, match="was begun with --layout parquet, got clip-retrieval"):
        embed(layout="clip-retrieval")
    with pytest.raises(InputError, match="was begun with --part-size 2, got 3"):
        embed(part_size=3)
    assert embed(part_size=None).num_before == 1
    with pytest.raises(LibraryError, match="nothing is overwritten"):
        embed("photos")
    (tmp_path / "out" / "embeddings.json").write_text("{}")
    with pytest.raises(LibraryError, match="is damaged, or of a newer clipkit"):
        embed()


def test_a_truncated_encoder_makes_files_of_its_own_space(
    tmp_path: Path, embed: Embed, starter: clipkit.Encoder
) -> None:
    make_folder(tmp_path / "photos", 1)
    other = starter.truncated(64)
    embed(encoder=other)
    files = clipkit.open_embedding_files(tmp_path / "out")
    assert (files.space_id, files.embed_dim) == (other.space_id, 64)


def test_options_are_checked() -> None:
    for wrong, said in (
        ({"engine": "spark"}, "local or ray"),
        ({"workers": 2}, "of Ray's workers"),
        ({"part_size": 0}, "at least 1"),
        ({"engine": "ray", "gpus_per_worker": -1.0}, "0 or more"),
    ):
        with pytest.raises(InputError, match=said):
            EmbedOptions(**wrong)


def test_ctrl_c_keeps_whole_parts_and_blames_no_part(
    tmp_path: Path, starter: clipkit.Encoder, embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "photos", 6)
    embed("whole")
    done: list[int] = []
    real = PartWorker.embed

    def interrupted(self: PartWorker, part: Any, **options: Any) -> Any:
        if len(done) == 1:
            (tmp_path / "out" / "begun" / "part-00001.json").write_text("{}")
            raise KeyboardInterrupt
        done.append(part.number)
        return real(self, part, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PartWorker, "embed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embed()
    assert list(part_contents(tmp_path / "out")) == ["part-00000.parquet"]
    assert not list((tmp_path / "out" / "begun").iterdir())
    report = embed()
    assert (report.num_before, report.num_embedded, report.num_retried) == (2, 4, 0)
    assert part_contents(tmp_path / "out") == part_contents(tmp_path / "whole")


def test_two_runs_at_once_are_refused(tmp_path: Path, embed: Embed) -> None:
    from clipkit.bulk_embedding.output_folder import OutputFolder

    make_folder(tmp_path / "photos", 1)
    embed()
    with (
        OutputFolder(tmp_path / "out").lock(),
        pytest.raises(LibraryError, match="another clipkit embed is writing"),
    ):
        embed()


def test_progress_counts_images(tmp_path: Path, starter: clipkit.Encoder) -> None:
    from contextlib import nullcontext

    make_folder(tmp_path / "photos", 3)
    told: list[tuple[int, int | None]] = []
    embed_source(
        tmp_path / "photos",
        tmp_path / "out",
        starter,
        callbacks=Callbacks(progress_for=lambda _: nullcontext(lambda *of: told.append(of))),
    )
    assert told == [(number, 3) for number in range(4)]


def test_a_list_of_paths_and_a_url_to_write_to(tmp_path: Path, starter: clipkit.Encoder) -> None:
    photos = make_folder(tmp_path / "photos", 3)
    paths = [photos / "0.png", photos / "2.png"]
    report = embed_source(paths, "memory://bulk-out/files", starter)
    assert report.num_embedded == 2
    assert embed_source(paths, "memory://bulk-out/files", starter).num_embedded == 0
    stored = clipkit.open_embedding_files("memory://bulk-out/files").read()
    assert stored.ids == list(map(str, paths))
    assert stored.embeddings.space_id == starter.space_id


def test_content_is_found_by_its_hash(tmp_path: Path, embed: Embed) -> None:
    photos = make_folder(tmp_path / "photos", 5)
    embed()
    files = clipkit.open_embedding_files(tmp_path / "out")
    stored = files.read()
    for path, row in zip(stored.ids, stored.embeddings, strict=True):
        found = files.find(digest((photos / path).read_bytes()))
        assert found is not None
        np.testing.assert_allclose(found[0], row, atol=1e-3)
    assert files.find(b"\0" * 16) is None and files.find(b"\xff" * 16) is None


def _ids(path: Path) -> list[str]:
    ids: list[str] = parquet.read_table(path)["id"].to_pylist()
    return ids
