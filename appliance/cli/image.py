"""``appliance image``: the files that turn a stock image into the appliance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from appliance.cli.output import print_json, print_line
from appliance.errors import UsageError
from appliance.host.files import write_whole
from appliance.image import pack, render
from appliance.image.device import read_device
from appliance.image.pack import digest
from appliance.image.sbom import bill, read_packages, read_wheels

image_app = App(name="image", help="The device image: what is laid over a stock system.")

#: Beside the installed packages, as in a checkout.
TEMPLATES: Final = Path(__file__).resolve().parents[2] / "firmware_config"


@image_app.command
def build(
    device: Path,
    /,
    *,
    out: Path,
    templates: Path = TEMPLATES,
    sbom: Path | None = None,
    wheels: Path | None = None,
    packages: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Build the overlay for one kind of device; the same input gives the same bytes.

    Parameters
    ----------
    device
        The device file, such as firmware_config/devices/generic-amd64.toml.
    out
        The archive to write (.tar). It is unpacked at the root of the stock image.
    templates
        The folder of the templates.
    sbom
        Write the image's bill of materials there (CycloneDX 1.6, JSON).
    wheels
        The folder of wheels that go onto the image, for the bill.
    packages
        The stock image's packages for the bill: dpkg-query -W -f '${Package} ${Version} ${Architecture}\n'.
    json
        One JSON object on standard output.
    """
    if sbom is None and (wheels or packages):
        raise UsageError("expected --sbom beside --wheels and --packages")
    described = read_device(device)
    files = render(described, templates)
    archive = pack(files)
    _write(out, archive)
    if sbom is not None:
        page = bill(
            described, files, read_wheels(wheels) if wheels else (), read_packages(packages) if packages else ()
        )
        _write(sbom, page.encode())
    if json:
        listed = [
            {"path": f"/{file.path}", "mode": f"{file.mode:04o}", "sha384": digest(file.content)} for file in files
        ]
        print_json({"kind": described.kind, "archive": out, "sha384": digest(archive), "sbom": sbom, "files": listed})
        return
    for file in files:
        print_line(f"{file.mode:04o} /{file.path}  SHA-384 {digest(file.content)[:16]}")
    print_line(f"{len(files)} files for {described.kind} over {described.base}: {out}, SHA-384 {digest(archive)}")


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
