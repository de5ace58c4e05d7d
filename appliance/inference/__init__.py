"""Inference: frames in, detections out, by whatever network a manifest describes.

Manifest + model ─ open_runner ─ Runner ┐
Frame ─ prepare ─ tensor ─ Runner.run ─ outputs ─ decode ─ suppress ─ DetectedFrame      (Detector)
Frames of several cameras ─ Lane (one thread, bounded) ─ DetectedFrames in each camera's order
"""
