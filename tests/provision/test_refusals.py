"""What a provisioned Mosquitto refuses, tried against a real one that runs the generated configuration."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.bus import Link, Outbox, Priority, Reader, TlsFiles
from appliance.bus.endpoint import Context
from appliance.errors import IdentityRefused
from appliance.provision import enrol, read_csr, revoke
from appliance.provision.authority import issue_client, make_key, public_key_of, read_authority
from appliance.sealing import Opened, PrivateIdentity, Sender, generate
from tests.support.brokers import LocalCa, until
from tests.support.provisioned import RESULTS, UNIT, ProvisionedBroker, connected, context_of, is_let_in

_UNLOCKED = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
CONTROL = "$CONTROL/dynamic-security/v1"
TAKE_OVER = b'{"commands":[{"command":"createClient","username":"mallory","roles":[{"rolename":"admin"}]}]}'


def access_file(broker: ProvisionedBroker) -> bytes:
    return (broker.folder / "broker" / "dynamic-security.json").read_bytes()


def without_certificate(broker: ProvisionedBroker) -> Context:
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(broker.tls_of(UNIT).ca)
    return context


def with_files(ca: Path, files: TlsFiles) -> Context:
    return context_of(TlsFiles(ca=ca, certificate=files.certificate, key=files.key))


def signed_by_our_ca(broker: ProvisionedBroker, name: str, folder: Path) -> TlsFiles:
    """A certificate that enrolment would never give: the CA's key is used behind its back."""
    ca = broker.folder / "ca"
    authority = read_authority((ca / "ca.key").read_bytes(), (ca / "ca.pem").read_bytes())
    key = make_key()
    (folder / "odd.key").write_bytes(key)
    (folder / "odd.pem").write_bytes(issue_client(authority, name, public_key_of(key), x509.random_serial_number()))
    return TlsFiles(ca=ca / "ca.pem", certificate=folder / "odd.pem", key=folder / "odd.key")


# ---- who comes in


def test_the_unit_and_a_recipient_are_let_in(guarded: ProvisionedBroker) -> None:
    assert is_let_in(guarded.port, guarded.tls_of(UNIT))
    assert is_let_in(guarded.port, guarded.tls_of("ops"))


def test_no_certificate_is_refused(guarded: ProvisionedBroker) -> None:
    assert not is_let_in(guarded.port, without_certificate(guarded))


def test_a_certificate_of_its_own_making_is_refused(guarded: ProvisionedBroker, tmp_path: Path) -> None:
    forged = LocalCa(tmp_path / "forged", name="ops")
    key = forged._key.private_bytes(*_UNLOCKED)
    (tmp_path / "own.key").write_bytes(key)
    own = TlsFiles(ca=forged.certificate, certificate=forged.certificate, key=tmp_path / "own.key")
    assert not is_let_in(guarded.port, with_files(guarded.tls_of(UNIT).ca, own))


def test_a_certificate_of_another_ca_of_the_same_name_is_refused(guarded: ProvisionedBroker, tmp_path: Path) -> None:
    other = LocalCa(tmp_path / "other", name=f"bus CA of {UNIT}").issue(UNIT)
    assert not is_let_in(guarded.port, with_files(guarded.tls_of(UNIT).ca, other))


def test_the_brokers_own_certificate_is_no_clients(guarded: ProvisionedBroker) -> None:
    own = guarded.folder / "broker"
    files = TlsFiles(ca=own / "ca.pem", certificate=own / "broker.pem", key=own / "broker.key")
    assert not is_let_in(guarded.port, files)


def test_a_revoked_certificate_is_refused_and_others_are_not(guarded: ProvisionedBroker, tmp_path: Path) -> None:
    files = guarded.tls_of("leaver")
    kept = [(tmp_path / name, (files.certificate.parent / name).read_bytes()) for name in ("leaver.pem", "leaver.key")]
    assert is_let_in(guarded.port, files)
    revoke(guarded.folder, "leaver")
    for path, content in kept:
        path.write_bytes(content)
    stolen = TlsFiles(ca=guarded.tls_of(UNIT).ca, certificate=tmp_path / "leaver.pem", key=tmp_path / "leaver.key")
    assert not is_let_in(guarded.port, stolen)
    assert is_let_in(guarded.port, guarded.tls_of("ops"))


def test_tls_1_2_is_refused(guarded: ProvisionedBroker) -> None:
    context = context_of(guarded.tls_of("ops"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", guarded.port)) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)version"),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_anonymous_and_plain_mqtt_are_refused(guarded: ProvisionedBroker) -> None:
    assert not is_let_in(guarded.port, None)


def test_a_password_opens_nothing(guarded: ProvisionedBroker) -> None:
    assert not is_let_in(guarded.port, without_certificate(guarded), password=(UNIT, "secret"))


def test_there_are_no_websockets(guarded: ProvisionedBroker) -> None:
    context = context_of(guarded.tls_of("ops"))
    with (
        socket.create_connection(("127.0.0.1", guarded.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        upgrade = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        sock.sendall(upgrade + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        sock.settimeout(5)
        assert sock.recv(100) == b""  # it hangs up


def test_it_listens_on_the_named_address_alone(guarded: ProvisionedBroker) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", guarded.port)) != 0


# ---- what those may do who are in


@pytest.mark.parametrize(
    "topic",
    ["#", "+/#", "edge/#", "edge/v1/+/#", "edge/v1/bravo/#", "$SYS/#", "$SYS/broker/version", "$share/pool/#",
     f"{CONTROL}/response", "$CONTROL/#", "+/v1/alpha/entity/01J"],
)  # fmt: skip
def test_a_recipient_is_granted_no_wildcard_beyond_its_unit(guarded: ProvisionedBroker, topic: str) -> None:
    with connected(guarded.port, guarded.tls_of("ops")) as ops:
        assert not ops.subscribe(topic)
        assert ops.subscribe(f"edge/v1/{UNIT}/#")
        assert ops.subscribe(f"edge/v1/{UNIT}/entity/+")


@pytest.mark.parametrize("topic", ["#", f"edge/v1/{UNIT}/#", "$SYS/#"])
def test_the_unit_may_subscribe_to_nothing(guarded: ProvisionedBroker, topic: str) -> None:
    with connected(guarded.port, guarded.tls_of(UNIT)) as unit:
        assert not unit.subscribe(topic)


@pytest.mark.parametrize(
    ("who", "topic"),
    [("ops", RESULTS), ("ops", f"edge/v1/{UNIT}/grant/1"), ("ops", "elsewhere"), (UNIT, "edge/v1/bravo/entity/1"),
     (UNIT, "edge/v1"), (UNIT, "$SYS/broker/uptime"), ("ops", CONTROL), (UNIT, CONTROL)],
)  # fmt: skip
def test_a_foreign_publish_is_refused_and_heard_by_nobody(guarded: ProvisionedBroker, who: str, topic: str) -> None:
    files = guarded.tls_of(who)
    with connected(guarded.port, guarded.tls_of("watcher")) as watcher:
        before = access_file(guarded)
        assert watcher.subscribe(f"edge/v1/{UNIT}/#")
        with connected(guarded.port, files) as client:
            assert client.publish(topic, TAKE_OVER) == "Not authorized"
        with connected(guarded.port, guarded.tls_of(UNIT)) as unit:
            assert unit.publish(RESULTS, b"honest") is None
        until(lambda: bool(watcher.heard), 5)
        assert [payload for _, payload, _ in watcher.heard] == [b"honest"]
    assert access_file(guarded) == before


def test_the_administrator_reads_no_results_and_publishes_none(guarded: ProvisionedBroker) -> None:
    with connected(guarded.port, guarded.admin) as admin:
        assert not admin.subscribe(f"edge/v1/{UNIT}/#")
        assert not admin.subscribe("#")
        assert admin.publish(RESULTS, b"x") == "Not authorized"


def test_a_client_id_takes_nobodys_session_over(guarded: ProvisionedBroker) -> None:
    unit_files = guarded.tls_of(UNIT)
    with connected(guarded.port, unit_files, f"edge-unit-{UNIT}") as unit:
        for client_id in (f"edge-unit-{UNIT}", UNIT):
            with connected(guarded.port, guarded.tls_of("ops"), client_id):
                time.sleep(0.2)
                assert not unit.lost.is_set()
        assert unit.publish(RESULTS, b"still here") is None


def test_a_poisoned_will_is_never_spoken(guarded: ProvisionedBroker) -> None:
    status = f"edge/v1/{UNIT}/status"
    with connected(guarded.port, guarded.tls_of("watcher")) as watcher:
        assert watcher.subscribe(f"edge/v1/{UNIT}/#")
        with connected(guarded.port, guarded.tls_of("ops"), will=(status, b"poison")) as ops:
            ops.client.socket().shutdown(socket.SHUT_RDWR)  # gone without a word
            assert ops.lost.wait(5)
        time.sleep(0.5)
        assert b"poison" not in [payload for _, payload, _ in watcher.heard]
    with connected(guarded.port, guarded.tls_of("late")) as late:
        assert late.subscribe(f"edge/v1/{UNIT}/#")
        time.sleep(0.3)
        assert late.heard == []


def test_a_poisoned_retained_message_is_not_kept_and_clears_nothing(guarded: ProvisionedBroker) -> None:
    grant = f"edge/v1/{UNIT}/grant/7"
    with connected(guarded.port, guarded.tls_of(UNIT)) as unit:
        assert unit.publish(grant, b"the unit's own", retain=True) is None
        for poison in (b"poison", b""):
            with connected(guarded.port, guarded.tls_of("ops")) as ops:
                assert ops.publish(grant, poison, retain=True) == "Not authorized"
        with connected(guarded.port, guarded.tls_of("late")) as late:
            assert late.subscribe(f"edge/v1/{UNIT}/grant/#")
            until(lambda: bool(late.heard), 5)
            assert late.heard == [(grant, b"the unit's own", True)]
        assert unit.publish(grant, b"", retain=True) is None


# ---- names


@pytest.mark.parametrize("name", ["#", "+", "a/b", "edge/v1/#", "a\nb", "a\x00b", "a\x7f", "$CONTROL", "", "ü", "a b",
                                  "-x", "x" * 65, "local-admin", "broker", "../../etc"])  # fmt: skip
def test_no_certificate_is_made_for_a_name_with_metacharacters(guarded: ProvisionedBroker, name: str) -> None:
    before = sorted(guarded.folder.rglob("*"))
    with pytest.raises(IdentityRefused) as caught:
        enrol(guarded.folder, name)
    assert caught.value.reason == "name"
    assert sorted(guarded.folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["#", "+", "ops/#", "a\nb"])
def test_a_request_that_names_a_metacharacter_is_refused(name: str) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA384())
    with pytest.raises(IdentityRefused) as caught:
        read_csr(request.public_bytes(_UNLOCKED[0]))
    assert caught.value.reason == "name"


@pytest.mark.parametrize("name", ["#", "+", "edge/v1/#", "unit", "stranger"])
def test_even_a_signed_certificate_of_an_odd_name_may_do_nothing(
    guarded: ProvisionedBroker, tmp_path: Path, name: str
) -> None:
    files = signed_by_our_ca(guarded, name, tmp_path)
    if not is_let_in(guarded.port, files):
        return
    with connected(guarded.port, files) as odd:
        for topic in ("#", f"edge/v1/{UNIT}/#", "$SYS/#"):
            assert not odd.subscribe(topic)
    for topic in (RESULTS, CONTROL):
        with connected(guarded.port, files) as odd:
            assert odd.publish(topic, TAKE_OVER) == "Not authorized"


# ---- too much


@pytest.fixture(scope="module")
def device() -> PrivateIdentity:
    return generate("device", UNIT)


@pytest.fixture(scope="module")
def reader_identity() -> PrivateIdentity:
    return generate("recipient", "reader-1")


def deliver(broker: ProvisionedBroker, folder: Path, device: PrivateIdentity, reader: PrivateIdentity, count: int,
            meanwhile: Callable[[], None]) -> list[int]:  # fmt: skip
    """Numbers that a reader opens while ``meanwhile`` goes on."""
    outbox = Outbox(folder / "outbox.sqlite")
    sender = Sender(UNIT, outbox.next_epoch(0), device, [reader.public], 1)
    outbox.put(sender.grant())
    link = Link(outbox, broker.url, unit=UNIT, tls=broker.tls_of(UNIT))
    link.start()
    try:
        with Reader(broker.url, reader, [device.public], folder / "inbox", tls=broker.tls_of("reader")) as reading:
            assert reading.wait_connected(20), reading.status()
            meanwhile()
            for first in range(0, count, 50):
                numbers = range(first, min(first + 50, count))
                outbox.put_many([(sender.seal(RESULTS, b"%d" % n), Priority.ENTITY) for n in numbers])
            results = [reading.take(20) for _ in range(count)]
            assert reading.take(0.2) is None
            return [int(result.payload) for result in results if isinstance(result, Opened)]
    finally:
        link.stop()
        outbox.close()
        with connected(broker.port, broker.tls_of(UNIT)) as unit:  # tests share the broker: leave nothing retained
            for topic in (f"edge/v1/{UNIT}/status", f"edge/v1/{UNIT}/grant/{sender.epoch}"):
                unit.publish(topic, b"", retain=True)


def test_link_and_reader_work_through_a_flood_of_refused_messages(
    make_provisioned: Callable[..., ProvisionedBroker],
    tmp_path: Path,
    device: PrivateIdentity,
    reader_identity: PrivateIdentity,
) -> None:
    """A refused message also ends its sender's session, so the flood comes back each time."""
    broker = make_provisioned()
    files = broker.tls_of("ops")

    def flood() -> None:
        for _ in range(20):
            with connected(broker.port, files) as flooder:
                for _ in range(200):
                    flooder.client.publish(RESULTS, bytes(1000), qos=0)

    assert deliver(broker, tmp_path, device, reader_identity, 50, flood) == list(range(50))


def test_a_flood_of_connections_leaves_the_unit_and_its_reader_alone(
    make_provisioned: Callable[..., ProvisionedBroker],
    tmp_path: Path,
    device: PrivateIdentity,
    reader_identity: PrivateIdentity,
) -> None:
    broker = make_provisioned()
    held: list[socket.socket] = []

    def flood() -> None:
        held.extend(socket.create_connection(("127.0.0.1", broker.port), 5) for _ in range(400))

    numbers = deliver(broker, tmp_path, device, reader_identity, 20, flood)
    assert numbers == list(range(20))
    for sock in held:
        sock.close()
    until(lambda: is_let_in(broker.port, broker.tls_of("reader")), 10)


def test_no_more_connections_are_taken_than_the_configuration_says(
    make_provisioned: Callable[..., ProvisionedBroker],
) -> None:
    """From the broker's start on; Mosquitto 2.0.11 forgets this limit when it reloads (docs/broker.md)."""
    broker = make_provisioned(max_connections=12)
    held = [socket.create_connection(("127.0.0.1", broker.port), 5) for _ in range(30)]
    until(lambda: broker.log().count("max_connections exceeded") >= 10, 5)
    for sock in held:
        sock.close()


def test_an_oversized_message_ends_its_sender_alone(guarded: ProvisionedBroker) -> None:
    with (
        connected(guarded.port, guarded.tls_of("watcher")) as watcher,
        connected(guarded.port, guarded.tls_of(UNIT)) as unit,
    ):
        assert watcher.subscribe(f"edge/v1/{UNIT}/#")
        unit.client.publish(RESULTS, bytes(3 * 1024 * 1024), qos=1)
        assert unit.lost.wait(5)
        assert not watcher.lost.is_set()
        assert all(len(payload) < 1024 * 1024 for _, payload, _ in watcher.heard)


def test_a_subscriber_that_does_not_read_holds_nobody_up_and_loses_nothing_that_fits(
    guarded: ProvisionedBroker, tmp_path: Path, device: PrivateIdentity, reader_identity: PrivateIdentity
) -> None:
    """It stops reading its socket: its queue grows in the broker, the unit and every other reader go on."""
    slow = context_of(guarded.tls_of("slow"))
    with (
        socket.create_connection(("127.0.0.1", guarded.port), 5) as plain,
        slow.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(bytes.fromhex("101100044d5154540502003c000004736c6f77"))
        assert sock.recv(100)[0] == 0x20  # CONNACK
        topic = f"edge/v1/{UNIT}/#".encode()
        body = b"\x00\x01\x00" + len(topic).to_bytes(2, "big") + topic + b"\x01"
        sock.sendall(bytes([0x82, len(body)]) + body)
        assert sock.recv(100)[0] == 0x90  # SUBACK; from here on it reads no more
        numbers = deliver(guarded, tmp_path, device, reader_identity, 1500, lambda: None)
    assert numbers == list(range(1500))
