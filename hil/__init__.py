"""The rig: scenes with truth, and the means to play them at an appliance.

Stands above ``appliance`` and is never imported by it.
"""
