"""The integrator's bench: keys, releases, signatures and sticks. Runs on a desk, never on the device.

The device's own verification (``appliance.slots``) has the last word on everything made here.
"""
