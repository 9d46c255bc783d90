"""fastai's own way: vision_learner and fine_tune with its default augmentation.

python fastai_tune.py FOLDER_OF_ONE_SET --epochs 4 [--seed N]. Prints one JSON line.

Batches of 16 and two loading processes are the fastest on two cores: fine_tune(1) on hymenoptera
took 55 s, 56 s in batches of 8, 65 s in 32 and 95 s in fastai's own 64, which was right more often
there in two seeds of three (143, 139, 121 of 153 against 129, 131, 137).
"""

import argparse
import json
import time
from pathlib import Path

import torch
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    GrandparentSplitter,
    ImageBlock,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    parent_label,
    set_seed,
    vision_learner,
)
from weights import NAME, timm_weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    started = time.perf_counter()
    set_seed(asked.seed, reproducible=True)
    files = [p for p in get_image_files(asked.folder) if not p.name.startswith(".")]
    held_out = [p for p in files if p.parts[-3] != "train"]
    validation = "val" if (asked.folder / "val").is_dir() else "validation"
    looked_at = [p for p in files if p.parts[-3] in ("train", validation)]
    blocks = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda _: looked_at,
        splitter=GrandparentSplitter(valid_name=validation),
        get_y=parent_label,
        item_tfms=Resize(224),
        batch_tfms=aug_transforms(),
    )
    data = blocks.dataloaders(
        asked.folder, bs=asked.batch, num_workers=asked.workers, device=torch.device("cpu")
    )
    learner = vision_learner(
        data, NAME, metrics=accuracy, pretrained_cfg_overlay={"file": timm_weights()}
    )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(asked.epochs)
        tested = data.test_dl(held_out, with_labels=True)
        probabilities, labels = learner.get_preds(dl=tested)
    right = (probabilities.argmax(dim=1) == labels).numpy()
    print(json.dumps({
        "peer": f"fastai fine_tune({asked.epochs})", "set": asked.folder.name, "seed": asked.seed,
        "right": int(right.sum()), "images": len(right), "accuracy": round(float(right.mean()), 4),
        "seconds": round(time.perf_counter() - started, 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
