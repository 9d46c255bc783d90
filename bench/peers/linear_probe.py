"""The linear probe that a good engineer writes by hand: torch, timm, scikit-learn.

python linear_probe.py FOLDER_OF_ONE_SET [--seed N]: frozen EfficientNet-Lite0, features once,
scikit-learn's logistic regression on them. Prints one JSON line.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data import create_transform, resolve_data_config
from weights import NAME, timm_weights

TRAIN = ("train",)


class Images(torch.utils.data.Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = ImageOps.exif_transpose(Image.open(self.paths[index])).convert("RGB")
        return self.transform(image)


def readable(path):
    try:
        Image.open(path).convert("RGB")
    except Exception:
        return False
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    started = time.perf_counter()
    paths = sorted(p for p in asked.folder.glob("*/*/*") if p.is_file() and not
                   p.name.startswith("."))  # fmt: skip
    classes = sorted({p.parent.name for p in paths})
    model = timm.create_model(
        NAME, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": timm_weights()}
    ).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    loader = torch.utils.data.DataLoader(
        Images(paths, transform), batch_size=64, num_workers=asked.workers
    )
    with torch.inference_mode():
        features = np.concatenate([model(batch).numpy() for batch in loader])
    labels = np.array([classes.index(p.parent.name) for p in paths])
    training = np.array([p.parts[-3] in TRAIN for p in paths])
    head = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, random_state=asked.seed)
    )
    head.fit(features[training], labels[training])
    right = head.predict(features[~training]) == labels[~training]
    print(json.dumps({
        "peer": "timm linear probe", "set": asked.folder.name, "seed": asked.seed,
        "right": int(right.sum()), "images": len(right), "accuracy": round(float(right.mean()), 4),
        "seconds": round(time.perf_counter() - started, 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
