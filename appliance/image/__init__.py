"""The device image: from one ``device.toml`` and the templates of ``firmware_config/`` to an overlay of files.

Pure but for reading templates and writing the archive: the same input gives the same bytes, so that two people who
build it can compare one digest. Not here: flashing, keys, or anything that is a secret of one unit.
"""

from appliance.image.device import Device, parse_device
from appliance.image.overlay import ImageFile, render
from appliance.image.pack import pack

__all__ = ["Device", "ImageFile", "pack", "parse_device", "render"]
