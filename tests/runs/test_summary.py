"""Layers folded to blocks, on layers written by hand."""

from headstart.runs.summary import Part, fold


def part(name: str, kind: str = "ReLU", locked: bool | None = None, weights: int = 0) -> Part:
    return Part(name, kind, (7, 7, 3), weights, locked)


def test_a_backbone_is_folded_to_its_blocks_and_the_head_is_not() -> None:
    parts = [
        part("input_layer", "InputLayer"),
        part("stem_conv", "Conv2D", True, 9), part("stem_relu"),
        part("block6a_conv", "Conv2D", True, 4), part("block6b_add", "Add"),
        part("dense", "Dense", False, 5), part("dense_1", "Dense", False, 6),
    ]  # fmt: skip
    assert [(p.name, p.kind, p.weights, p.locked) for p in fold(parts, 5)] == [
        ("input_layer", "InputLayer", 0, None),
        ("stem", "2 layers", 9, True),
        ("block6", "2 layers", 4, True),
        ("dense", "Dense", 5, False),
        ("dense_1", "Dense", 6, False),
    ]


def test_layers_without_a_name_belong_to_the_block_that_they_lead_to() -> None:
    parts = [part("conv2d", "Conv2D", True, 3),
             part("batch_normalization_1", "BatchNormalization", True, 2),
             part("mixed0", "Concatenate"), part("conv2d_1", "Conv2D", False, 1),
             part("activation_1", "Activation"), part("mixed1", "Concatenate")]  # fmt: skip
    assert [(p.name, p.kind, p.weights, p.locked) for p in fold(parts, 6)] == [
        ("mixed0", "3 layers", 5, True),
        ("mixed1", "3 layers", 1, False),
    ]


def test_a_block_that_is_trained_in_part_is_trained() -> None:
    parts = [part("block1_a", "Conv2D", True, 3), part("block1_b", "Conv2D", False, 2)]
    assert fold(parts, 2) == [Part("block1", "2 layers", (7, 7, 3), 5, False)]
