"""Devices under test, as the rig sees them: one protocol, one file for each kind.

device   the protocol, and what passes over it
local    processes of this machine
machine  what every device with a service manager shares, given one way to run a command on it:
qemu     a virtual machine, through a virtio port
board    a real board, through commands for its power switch, console and shell

A device knows power, a shell, files and the daemon as a service. It knows no scene, fault, measurement or verdict:
those are ``hil.rig``'s, and the same campaign runs on every kind.
"""
