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
    json
        One JSON object on standard output.
    """
    described = read_device(device)
    files = render(described, templates)
    archive = pack(files)
    try:
        write_whole(out, archive)
    except OSError as e:
        raise UsageError(f"{out}: {e.strerror}") from e
    if json:
        listed = [
            {"path": f"/{file.path}", "mode": f"{file.mode:04o}", "sha384": digest(file.content)} for file in files
        ]
        print_json({"kind": described.kind, "archive": out, "sha384": digest(archive), "files": listed})
        return
    for file in files:
        print_line(f"{file.mode:04o} /{file.path}  SHA-384 {digest(file.content)[:16]}")
    print_line(f"{len(files)} files for {described.kind} over {described.base}: {out}, SHA-384 {digest(archive)}")
