"""Features of many photos as people write it by hand: Ray Data, an actor that holds timm's network.

python ray_timm.py PHOTOS OUT [--batch 32] [--threads 0] [--actors 1] [--decode tasks] [--bf16]
[--channels-last] [--compile]: frozen EfficientNet-Lite0 with the bundled weights, PIL and timm's
own transform to 224 pixels, 1,280 features a photo, written as Parquet. Prints one JSON line;
`seconds` are those from the beginning of reading. With --pixels and a file of these (N x 224 x 224
x 3, as .npy) in the place of the photos it writes their features to OUT, a .npy too, without Ray.
"""

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

HERE = str(Path(__file__).parent)
MEAN, STD = 127, 128  # which these weights were trained with, of pixels in 0..255


def open_network():
    sys.path.insert(0, HERE)
    import timm
    from weights import NAME, timm_weights

    return timm.create_model(
        NAME, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": timm_weights()}
    ).eval()


class Prepare:
    """A file's bytes to (224, 224, 3) uint8: timm's own resizing and crop."""

    def __init__(self):
        import timm

        whole = timm.data.create_transform(224, interpolation="bicubic", crop_pct=0.875)
        self.transform = type(whole)(whole.transforms[:2])  # the rest, to tensor, a batch at a time

    def __call__(self, data: bytes) -> np.ndarray:
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        return np.asarray(self.transform(image))


def decode(row: dict) -> dict:
    global _prepare
    if "_prepare" not in globals():
        _prepare = Prepare()
    return {"path": row["path"], "image": _prepare(row["bytes"])}


class Network:
    def __init__(self, threads: int, bf16: bool, channels_last: bool, compiled: bool):
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.torch, self.bf16 = torch, bf16
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = open_network().to(memory_format=self.layout)
        if compiled:
            self.model = torch.compile(self.model)
        self.prepare = Prepare()

    def __call__(self, batch: dict) -> dict:
        torch = self.torch
        images = batch.pop("image", None)
        if images is None:
            images = np.stack([self.prepare(data) for data in batch.pop("bytes")])
        return {"path": batch["path"], "features": self.run(torch.from_numpy(images))}

    def run(self, images) -> np.ndarray:
        """(n, 224, 224, 3) uint8 to (n, 1280)."""
        torch = self.torch
        images = ((images.permute(0, 3, 1, 2).float() - MEAN) / STD).contiguous(
            memory_format=self.layout
        )
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(images).float().numpy()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("out")
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--decode", choices=("tasks", "actors"), default="tasks")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    how = (asked.threads, asked.bf16, asked.channels_last, asked.compile)
    if asked.pixels:
        import torch

        np.save(asked.out, Network(*how).run(torch.from_numpy(np.load(asked.photos))))
        return
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    import ray

    # "local": a cluster that happens to run here is somebody else's
    ray.init(address="local", log_to_driver=False, include_dashboard=False,
             runtime_env={"env_vars": {"PYTHONPATH": HERE}})  # fmt: skip
    ray.data.DataContext.get_current().enable_progress_bars = False
    started = time.perf_counter()
    some = {"num_cpus": 0.25}  # of a core, so that actors on all cores leave room for tasks
    data = ray.data.read_binary_files(
        str(asked.photos), include_paths=True, ray_remote_args=some, override_num_blocks=32
    )
    if asked.decode == "tasks":
        data = data.map(decode, **some)
    data = data.map_batches(
        Network, fn_constructor_args=how, batch_size=asked.batch, num_cpus=0.75,
        compute=ray.data.ActorPoolStrategy(size=asked.actors),
    )  # fmt: skip
    data.write_parquet(asked.out, ray_remote_args=some)
    seconds = time.perf_counter() - started
    import pyarrow.dataset

    images = pyarrow.dataset.dataset(asked.out).count_rows()
    print(json.dumps({"images": images, "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
