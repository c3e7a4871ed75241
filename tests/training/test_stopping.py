"""A wish to stop is noted, a second one acts, and signals go back to whoever had them."""

import os
import signal
import threading

import pytest

from clipkit.training.stopping import StopRequest

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_wish(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.is_made
        send(number)
        assert stop.is_made
        assert stop.signal == number
    assert stop.is_made


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_one_acts_at_once(first: signal.Signals, second: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest():
        send(first)
        send(second)
        raise AssertionError("it went on")


def test_signals_go_back_to_whoever_had_them() -> None:
    taken: list[int] = []
    before = [signal.signal(number, lambda one, _: taken.append(one)) for number in SIGNALS]
    try:
        with StopRequest():
            send(signal.SIGTERM)
        with pytest.raises(ValueError, match="on purpose"), StopRequest():
            raise ValueError("on purpose")
        assert taken == []
        for number in SIGNALS:
            send(number)
        assert taken == list(SIGNALS)
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_in_another_thread_there_are_no_wishes() -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    found = []

    def look() -> None:
        with StopRequest() as stop:
            found.append((stop.is_made, [signal.getsignal(number) for number in SIGNALS]))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(False, handlers)]
