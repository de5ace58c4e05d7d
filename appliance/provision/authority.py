"""The unit-local certificate authority: values in, PEM out. It opens no file and asks no clock.

Rules:

- Nothing here expires, and nothing is not yet valid: certificates say 1970-01-01 to 9999-12-31 (RFC 5280 §4.1.2.5, "no
  well-defined expiration date"). A unit without a clock thinks it is 1970 or 2060, and must not lock anybody out; who
  is let in is decided by access list and revocation list.
- A revocation list is newer by its number alone. OpenSSL prefers, of two lists of one issuer, the one with the later
  ``thisUpdate``, so that is the number in seconds after 1970-01-01; ``nextUpdate`` is 9999.
- The CA signs for one unit's bus. A certificate is for a server or for a client, never for both.
- Names are those that may stand in a topic: to the broker, a certificate for ``#`` or ``+`` is a user of that name.
- Of a request only the key is taken, and the name only to compare it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.errors import IdentityRefused
from appliance.sealing.identity import NAME_PATTERN

BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
END: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
ADMIN: Final = "local-admin"
BROKER: Final = "broker"
RESERVED: Final = frozenset({ADMIN, BROKER})
MAX_CSR_BYTES: Final = 16 * 1024
MAX_CRL_NUMBER: Final = 365 * 24 * 3600
"""A list's number is its date in seconds after 1970-01-01, and a clock may stand in 1971."""
_SMALLEST_RSA_BITS: Final = 3072
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)

ClientKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Csr:
    """A certificate request whose signature, name and key were found good."""

    name: str
    key: ClientKey
    pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The CA's key and certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def check_name(name: str) -> str:
    """``name``, where a certificate and an access list may bear it. Raises IdentityRefused (``name``)."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise IdentityRefused("name", f"expected 1 to 64 of letters, digits, '.', '_', '-'; found {name[:80]!r}")
    if name in RESERVED:
        raise IdentityRefused("name", f"expected a name of a unit or recipient; '{name}' is the broker's own")
    return name


def make_key() -> bytes:
    """A new private key (P-384) as unlocked PEM."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_authority(unit: str, key_pem: bytes) -> bytes:
    """The CA's own certificate as PEM. Raises IdentityRefused (``key``)."""
    key = read_key(key_pem)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"bus CA of {unit}")])
    builder = (
        _builder(name, name, key.public_key(), key, x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return builder.sign(key, hashes.SHA384()).public_bytes(Encoding.PEM)


def read_authority(key_pem: bytes, certificate_pem: bytes) -> Authority:
    """Raises IdentityRefused where the two do not belong together."""
    key = read_key(key_pem)
    certificate = read_certificate(certificate_pem)
    if certificate.public_key() != key.public_key():
        raise IdentityRefused("key", "expected the CA's key and its certificate; found a key of another certificate")
    return Authority(key=key, certificate=certificate)


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A private key that was made here. Raises IdentityRefused (``key``)."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise IdentityRefused("key", f"expected an unlocked private key in PEM; {e}") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityRefused("key", "expected an elliptic-curve key")
    return key


def read_certificate(pem: bytes) -> x509.Certificate:
    """Raises IdentityRefused (``certificate``)."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as e:
        raise IdentityRefused("certificate", f"expected a certificate in PEM; {e}") from e


def read_csr(pem: bytes) -> Csr:
    """A certificate request (PKCS #10). Raises IdentityRefused (``csr`` or ``name``)."""
    if len(pem) > MAX_CSR_BYTES:
        raise IdentityRefused("csr", f"expected at most {MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(pem)
        good = request.is_signature_valid
        key = request.public_key()
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as e:
        raise IdentityRefused("csr", f"expected a certificate request in PEM; {e}") from e
    if not good:
        raise IdentityRefused("csr", "expected a request that its own key signed")
    if len(names) != 1:
        raise IdentityRefused("csr", f"expected one common name; found {len(names)}")
    return Csr(name=check_name(str(names[0].value)), key=_strong(key), pem=pem)


def issue_client(authority: Authority, name: str, key: ClientKey, serial: int) -> bytes:
    """A client's certificate as PEM."""
    return _issue(authority, name, key, serial, ExtendedKeyUsageOID.CLIENT_AUTH, ())


def issue_server(authority: Authority, key: ClientKey, serial: int, names: Sequence[str]) -> bytes:
    """The broker's certificate as PEM; ``names`` are addresses and host names under which it is reached."""
    return _issue(authority, BROKER, key, serial, ExtendedKeyUsageOID.SERVER_AUTH, names)


def belongs(authority: Authority, certificate: x509.Certificate, key: ClientKey, serial: int) -> bool:
    """Whether ``certificate`` is the one that this CA issued for ``key`` under ``serial``."""
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return certificate.serial_number == serial and certificate.public_key() == key


def revocation_list(authority: Authority, revoked: Sequence[int], number: int) -> bytes:
    """The list of revoked serial numbers as PEM; ``number`` goes up by one at each change. Raises IdentityRefused."""
    if not 0 < number <= MAX_CRL_NUMBER:
        raise IdentityRefused("revocations", f"expected a list number from 1 to {MAX_CRL_NUMBER}; found {number}")
    made = BEGINNING + dt.timedelta(seconds=number)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(made)
        .next_update(END)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(BEGINNING)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, hashes.SHA384()).public_bytes(Encoding.PEM)


def is_revocation_list(authority: Authority, pem: bytes, revoked: Sequence[int], number: int) -> bool:
    """Whether ``pem`` is this CA's list of exactly ``revoked`` under ``number``."""
    try:
        listed = x509.load_pem_x509_crl(pem)
        good = listed.is_signature_valid(authority.key.public_key())
        stated = listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return good and stated == number and {entry.serial_number for entry in listed} == set(revoked)


def public_key_of(key_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The public half of a key that was made here."""
    return read_key(key_pem).public_key()


def _issue(
    authority: Authority, name: str, key: ClientKey, serial: int, use: x509.ObjectIdentifier, names: Sequence[str]
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, authority.certificate.subject, key, authority.key, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    return builder.sign(authority.key, hashes.SHA384()).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ClientKey, signer: ec.EllipticCurvePrivateKey, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(BEGINNING)
        .not_valid_after(END)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _strong(key: object) -> ClientKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA_BITS:
        return key
    raise IdentityRefused("csr", f"expected P-256, P-384, Ed25519 or RSA of {_SMALLEST_RSA_BITS} bits or more")


def same_key(one: ClientKey, other: ClientKey) -> bool:
    """Whether two public keys are one."""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return one.public_bytes(*form) == other.public_bytes(*form)
