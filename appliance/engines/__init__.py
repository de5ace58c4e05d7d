"""Engines: from a verified network to a compiled one that serves. What is built here is never accepted from outside.

    verified ONNX ─ build ─(child process: builder)─ plan ─ store (sealed, bound) ─ open ─ runner ─ parity ─ lane
                     │                                        │
                     └─ progress: one fraction, time left     └─ any mismatch: build again, never load

A *plan* is what TensorRT serialises: executable code for one GPU and one version. A *runner* is a plan that has been
loaded and answers. The network itself keeps its manifest; ONNX Runtime serves until an engine has passed the gate.

TensorRT and pycuda are imported in ``nvidia`` alone; ``builder`` takes the module as an argument, so that TensorRT 10,
TensorRT 11 and TensorRT for RTX go through one path.
"""
