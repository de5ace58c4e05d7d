"""A whole machine to break: Debian, our overlay and our wheel as a disk for QEMU, and its first hour.

recipe      what goes in, per architecture, and the digest that names the result      pure
wheelhouse  the wheels that the lock names for that architecture, by their hashes
build       debootstrap, wheels, overlay, compilation, file system: a disk, cached by the digest
guest/      what only the virtual device carries: the rig's hands. Never part of a field image

``hil.devices.qemu`` runs it; ``python -m hil vm`` is the command.
"""
