"""The names that a server answers to."""

import pytest

from clipkit.web.hosts import AllowedHosts, allowed_hosts, host_name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:8000", "localhost"), ("[::1]:80", "::1"), ("Photos.Example", "photos.example"),
        ("a b", ""), ("", ""), ("evil.example:port", ""), ("a@localhost", ""), ("localhost:", ""),
    ],
)  # fmt: skip
def test_the_name_of_a_host_is_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name


def test_bound_to_this_machine_only_its_names_will_do() -> None:
    hosts = allowed_hosts("127.0.0.1")
    assert "localhost:8000" in hosts
    assert "[::1]" in hosts
    assert "192.168.0.9:8000" not in hosts
    assert "evil.example" not in hosts


def test_bound_to_all_addresses_an_address_will_do_and_a_name_that_was_given() -> None:
    hosts = allowed_hosts("0.0.0.0", ["photos.example:8443"])
    assert "192.168.0.9:8000" in hosts
    assert "photos.example" in hosts
    assert "evil.example" not in hosts
    assert "0.0.0.0.evil.example" not in hosts


def test_what_is_no_text_is_no_host() -> None:
    assert None not in AllowedHosts()
