"""The URL and certificates of a broker, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.bus import TlsFiles
from appliance.bus.endpoint import endpoint, tls_context
from appliance.errors import ConfigError

FILES = TlsFiles(ca=Path("ca.pem"), certificate=Path("c.pem"), key=Path("c.key"))


def test_ports_have_their_defaults() -> None:
    assert (endpoint("mqtt://broker", None).host, endpoint("mqtt://broker", None).port) == ("broker", 1883)
    assert endpoint("mqtts://broker", FILES).port == 8883
    assert endpoint("mqtt://[::1]:5000", None).host == "::1"


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("", None),
        ("broker", None),
        ("http://broker", None),
        ("mqtt://", None),
        ("mqtt://broker:port", None),
        ("mqtt://broker:99999", None),
        ("mqtt://user:secret@broker", None),
        ("mqtt://broker/topic", None),
        ("mqtt://broker?x=1", None),
        ("mqtts://broker", None),
        ("mqtt://broker", FILES),
    ],
)
def test_a_url_that_cannot_be_used_is_a_fault_in_the_mission(url: str, tls: TlsFiles | None) -> None:
    with pytest.raises(ConfigError) as error:
        endpoint(url, tls)
    assert len(error.value.faults) == 1


def test_certificates_that_cannot_be_used_are_a_fault_in_the_mission(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        tls_context(FILES)
    for name in ("ca.pem", "c.pem", "c.key"):
        (tmp_path / name).write_text("no certificate\n")
    with pytest.raises(ConfigError):
        tls_context(TlsFiles(ca=tmp_path / "ca.pem", certificate=tmp_path / "c.pem", key=tmp_path / "c.key"))


def test_a_password_in_a_url_is_not_repeated_in_the_fault() -> None:
    with pytest.raises(ConfigError) as error:
        endpoint("mqtt://user:secret@broker", None)
    assert "secret" not in str(error.value)
