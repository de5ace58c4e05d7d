"""Devices under test, as the rig sees them: one protocol, one file for each kind.

device  the protocol, and what passes over it

A device knows power, a shell, files and the daemon as a service. It knows no scene, fault, measurement or verdict:
those are ``hil.rig``'s, and the same campaign runs on every kind.
"""
