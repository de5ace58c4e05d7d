"""D-FINE and RT-DETR from a folder of transformers, tiny and untrained. `make test-export` has all that this needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.bundles.manifest import parse_manifest
from export.facts import facts_of

PREPROCESSOR = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": False,
    "size": {"height": 64, "width": 64},
}


def _save(kind: str, folder: Path) -> None:
    """A folder as ``save_pretrained`` writes it; all sizes are as small as the families allow."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: `make test-export`")
    torch = pytest.importorskip("torch", reason="torch is not installed: `make test-export`")
    torch.manual_seed(5)
    small: dict[str, Any] = {
        "encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "d_model": 32,
        "decoder_ffn_dim": 32, "decoder_attention_heads": 2, "decoder_layers": 2, "num_queries": 84,
        "num_denoising": 0, "id2label": {0: "person", 1: "car", 2: "lamp"}, "decoder_in_channels": [32, 32, 32],
    }  # fmt: skip
    if kind == "d_fine":
        backbone = transformers.HGNetV2Config(
            stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 24, 32], stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[16, 24, 32, 40], stage_num_blocks=[1, 1, 1, 1], stage_numb_of_layers=[1, 1, 1, 1],
            hidden_sizes=[16, 24, 32, 40], out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
        config = transformers.DFineConfig(
            backbone_config=backbone, encoder_in_channels=[24, 32, 40], hidden_expansion=0.5,
            decoder_n_points=[3, 6, 3], **small,
        )  # fmt: skip
        model = transformers.DFineForObjectDetection(config)
    else:
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
        config = transformers.RTDetrV2Config(backbone_config=backbone, encoder_in_channels=[24, 32, 40], **small)
        model = transformers.RTDetrV2ForObjectDetection(config)
    model.eval().save_pretrained(folder, safe_serialization=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))


@pytest.mark.timeout(900)  # torch traces and converts for minutes where the machine is shared
@pytest.mark.parametrize("kind", ["d_fine", "rt_detr_v2"])
def test_a_folder_becomes_a_network_and_a_manifest_that_a_device_takes(bench: Path, run: Any, kind: str) -> None:
    _save(kind, bench / "folder")
    code, out, err = run("import detr folder --out made --name tiny --licence Apache-2.0")
    assert code == 0, err
    assert "tried on drawn noise" in out
    assert "not reported: lamp" in out
    page = parse_manifest((bench / "made" / "model.json").read_bytes())
    assert (page.labels, page.input.dtype, page.input.fit) == (("person", "car", "lamp"), "uint8", "stretch")
    facts = facts_of(bench / "made" / "model.onnx")
    assert [str(value) for value in facts.outputs] == ["boxes float32 [1, 84, 4]", "scores float32 [1, 84, 3]"]


FOLDER = {"model_type": "rt_detr", "id2label": {"0": "person"}}


@pytest.mark.parametrize(
    ("config", "files", "says"),
    [
        ({"model_type": "detr"}, {}, "expected a model_type"),
        ({}, {}, "expected a model_type"),
        (FOLDER, {"model.safetensors": None}, "pickles are not loaded"),
        (FOLDER | {"id2label": {}}, {}, "id2label"),
        (FOLDER | {"id2label": {"1": "person"}}, {}, "id2label"),
        (FOLDER, {"preprocessor_config.json": {"size": 640}}, "height and width"),
        (FOLDER, {"preprocessor_config.json": {"do_pad": True}}, "do_pad"),
        (FOLDER, {"preprocessor_config.json": [1]}, "one JSON object"),
    ],
)
def test_a_folder_that_is_not_understood_says_why(
    bench: Path, run: Any, config: dict[str, Any], files: dict[str, Any], says: str
) -> None:
    (bench / "folder").mkdir()
    (bench / "folder" / "config.json").write_text(json.dumps(config))
    (bench / "folder" / "model.safetensors").write_bytes(b"no weights")
    for name, content in files.items():
        path = bench / "folder" / name
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(json.dumps(content))
    code, _, err = run("import detr folder --out made")
    assert (code, says in err) == (2, True), err
    assert not (bench / "made").exists()
