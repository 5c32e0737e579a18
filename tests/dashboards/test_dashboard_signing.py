"""Signed addresses: what a page signed is opened for a while, and nothing else ever is."""

import pytest

from dashboards import signing
from dashboards.signing import AddressError, opened, signed

NOW = 1_800_000_000.0  # a multiple of 300: an address signed now runs until 300 + 900 s later
PATH = "/volumes/mask/" + "a" * 64
ABOUT = {"case": "3", "half": "1"}


def parts(address: str) -> tuple[str, str]:
    path, _, query = address.partition("?")
    return path, query


def test_an_address_is_opened_to_what_was_signed():
    assert opened(*parts(signed(PATH, ABOUT, NOW)), NOW) == ABOUT


def test_an_address_runs_out_after_15_to_20_minutes():
    early = signed(PATH, ABOUT, NOW)
    late = signed(PATH, ABOUT, NOW + 299)
    # Of one step, and so equal: the browser finds the volume in its cache.
    assert early == late
    assert opened(*parts(early), NOW + 1200) == ABOUT
    with pytest.raises(AddressError, match="run out"):
        opened(*parts(early), NOW + 1201)


@pytest.mark.parametrize(
    "alter",
    [
        lambda a: a.replace("case=3", "case=4"),
        lambda a: a.replace("half=1", "half=0"),
        lambda a: a.replace("a" * 64, "b" * 64),
        lambda a: a.replace("/mask/", "/image/"),
        lambda a: a.replace("until=18", "until=19"),
        lambda a: a[:-1] + ("0" if a[-1] != "0" else "1"),
        lambda a: a.replace("&signature=", "&x=1&signature="),
        lambda a: a + "&case=4",
        lambda a: a.partition("&signature")[0],
        lambda a: a.partition("?")[0],
        lambda a: a.partition("signature=")[0] + "signature=ü",
        lambda a: a.partition("signature=")[0] + "signature=",
    ],
)
def test_an_address_that_was_changed_is_refused(alter):
    with pytest.raises(AddressError, match="not made by a page of this server"):
        opened(*parts(alter(signed(PATH, ABOUT, NOW))), NOW)


def test_another_servers_address_is_refused(monkeypatch):
    address = signed(PATH, ABOUT, NOW)
    monkeypatch.setattr(signing, "_KEY", b"another server's")
    with pytest.raises(AddressError):
        opened(*parts(address), NOW)


def test_the_key_stands_in_no_address():
    address = signed(PATH, ABOUT, NOW)
    assert signing._KEY.hex() not in address
    assert len(signing._KEY) == 32
