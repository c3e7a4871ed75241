"""Notes beside a progress bar, on a stderr that says that it is a terminal."""

import io
import sys

import pytest

from clipkit.cli.progress import note, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(written: str) -> list[str]:
    """Return what a terminal shows of some text: a carriage return goes back to write over."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for piece in line.split("\r"):
            shown = piece + shown[len(piece) :]
        lines.append(shown.rstrip())
    return lines


def test_a_note_has_a_line_of_its_own_beside_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("classifying") as progress:
        progress(0, 10)
        note("36 of 36 images are looked up")
        progress(10, 10)
    assert screen(terminal.getvalue())[0] == "36 of 36 images are looked up"
    note("done")  # the bar is gone
    assert screen(terminal.getvalue())[-2:] == ["done", ""]
