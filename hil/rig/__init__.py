"""The rig: plays a scene at a device, breaks things while it plays, measures, and says PASS or what was not.

campaign   what is asked: trials, faults, limits, as frozen values from TOML
strategy   off → booted → running, and back
bench      everything round one device: stage, players, ear, sampler
trial      one run from start to end, with its faults, into a record
faults/    what can go wrong, one function each
measures   from a record to readings with unit and limit; pure
verdict    readings and outcomes
reports/   for machines (JUnit, signed JSON) and people (one HTML file)
selftest   each fault against a build that was broken on purpose

Nothing here knows what a device is made of; that is ``hil.devices``.
"""
