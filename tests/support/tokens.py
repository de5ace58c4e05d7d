"""A SoftHSM in a folder of its own: two tokens with a PIN, for tests of PKCS#11."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PIN, OTHER_PIN = "739201", "118822"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class Hsm:
    """Where the tokens lie, and the module that speaks for them. Their labels are ``edge`` and ``other``."""

    folder: Path
    module: str

    def uri(self, key: str, *, token: str = "edge", pin: str = "pin", module: str | None = None) -> str:
        """The URI of a key; ``pin`` is the name of a PIN file in the folder."""
        return (
            f"pkcs11:token={token};object={key}?module-path={module or self.module}&pin-source=file:{self.folder / pin}"
        )

    def pin_file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hsm]:
    """One for the session: the module reads where its tokens lie once in the life of a process."""
    module = next((path for path in MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed here (Debian package softhsm2)")
    if importlib.util.find_spec("pkcs11") is None:
        pytest.skip("python-pkcs11 is not installed here (extra pkcs11)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    made = Hsm(folder, module)
    made.pin_file("pin", PIN + "\n")
    made.pin_file("other-pin", OTHER_PIN + "\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(configuration))
        for label, pin in (("edge", PIN), ("other", OTHER_PIN)):
            arguments = ["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "55667788"]
            subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)
        yield made
