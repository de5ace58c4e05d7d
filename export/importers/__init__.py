"""Networks of other people's making: a manifest is made for them, and they are tried out at once.

    yolox          a YOLOX ONNX file: strides, decoding and scores are inferred from shapes and answers
    transformers   a D-FINE or RT-DETR folder of Hugging Face transformers, offline
    anything       any ONNX file, by answers to questions or a TOML file

Each gives a folder with ``model.onnx`` and ``model.json`` that the appliance takes.
"""
