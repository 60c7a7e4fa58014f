"""Networks of photographs, AlexNet and SqueezeNet 1.0, on spectrogram images; their layers have torchvision's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ser.base.errors import SerError
from ser.nets.colours import coloured, normalised_palette


class ImageClassifier(nn.Module):
    """A network on images of palette indices: `features`, then what a subclass makes of them.

    Attributes:
        features: layers one after the other.
        output_layers: the layers that depend on the classes.
    """

    output_layers: tuple[str, ...]

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("colours", normalised_palette(), persistent=False)

    def frozen_layers(self) -> int:
        """Return how many of the first `features` have nothing to train: what comes out of them never changes."""
        trained = [any(parameter.requires_grad for parameter in layer.parameters()) for layer in self.features]
        return trained.index(True) if True in trained else len(trained)

    def trunk(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return what comes out of the frozen layers, (B, C, H, W); arguments as of `embed`."""
        return self.features[: self.frozen_layers()](self._images(rows, lengths))

    def _images(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return the images of a batch as the first layer wants them, (B, 3, 256, 256)."""
        if not bool((lengths == lengths[0]).all()):
            raise SerError(f"images of {int(lengths.min())} to {int(lengths.max())} columns in one batch; make them "
                           "all with the same options (steps/make_spectrogram.sh)")
        # Rows are columns of the image, one image after the other. What layers make of images that have their channels
        # last in memory has them so too: max pooling then takes a fifth of the time, convolutions two thirds.
        return coloured(rows.view(len(lengths), -1, rows.shape[1]).transpose(1, 2), self.colours)

    def _maps(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return the last feature maps, of images or of what `trunk` made of them."""
        if rows.dim() == 4:
            return self.features[self.frozen_layers() :](rows)
        return self.features(self._images(rows, lengths))

    def embed(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Return what the output layer sees, (B, E).

        Args:
            rows: (n, height) palette indices, the columns of all images; or (B, C, H, W), what `trunk` returned.
            lengths: (B,) columns of each image, on the CPU; all alike.
        """
        raise NotImplementedError

    def forward(self, rows: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits (B, classes); arguments as of `embed`."""
        raise NotImplementedError


class AlexNet(ImageClassifier):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as torchvision has it.

    57,020,228 parameters for 4 classes; Conv1 to Conv5 are `features.{0,3,6,8,10}`, the dense layers
    `classifier.{1,4,6}`.
    """

    output_layers = ("classifier.6",)

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        ))  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(256 * 36, 4096), nn.ReLU(inplace=True),
            nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, classes),
        )

    def embed(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return self.classifier[:-1](self.avgpool(self._maps(rows, lengths)).flatten(1))

    def forward(self, rows: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classifier[-1](self.embed(rows, lengths))


class Fire(nn.Module):
    """Iandola et al., "SqueezeNet", 2016: 1×1 convolutions to few channels, then 1×1 and 3×3 ones side by side."""

    def __init__(self, channels_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels_in, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) to (B, 2·expanded, H, W)."""
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x).relu_(), self.expand3x3(x).relu_()], 1)


class SqueezeNet(ImageClassifier):
    """SqueezeNet 1.0, as torchvision has it but for the ReLU after the last layer; 737,476 parameters for 4 classes.

    The last Fire module is `features.12`. A new layer's classes that begin below 0 everywhere would get no gradient
    through that ReLU: no image would ever be taken for them.
    """

    output_layers = ("classifier.1",)

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Sequential(
            nn.Conv2d(3, 96, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256),
            nn.MaxPool2d(3, 2, ceil_mode=True), Fire(512, 64, 256),
        ))  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(512, classes, 1), nn.AdaptiveAvgPool2d(1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier[1].weight, 0.0, 0.01)

    def embed(self, rows: Tensor, lengths: Tensor) -> Tensor:
        return self._maps(rows, lengths).mean((2, 3))

    def forward(self, rows: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.classifier(self._maps(rows, lengths)).flatten(1)
