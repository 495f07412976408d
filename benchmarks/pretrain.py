"""Views of images: time of our batched crops, of kornia's, and of PIL transforms as DataLoader workers run them."""

from collections.abc import Callable
from typing import Any

import torch

from sigreg_lab.pretrain.crops import CropConfig, make_crops
from sigreg_lab.slicing import seeded_generator

IMAGES = 64


class Views:
    """One view of 64 images: crop, flip, colour jitter, grey, blur, solarize; the same recipe in three libraries."""

    params = ([32, 128], ["sigreg-lab", "kornia", "torchvision-pil"])
    param_names = ("image_size", "library")

    def setup(self, image_size: int, library: str) -> None:
        self.pixels = torch.rand(IMAGES, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        self.step = 0
        make = {"sigreg-lab": self._ours, "kornia": self._kornia, "torchvision-pil": self._pil}[library]
        self.run = make(image_size)
        self.run()

    def _ours(self, image_size: int):
        config = CropConfig(global_views=1)

        def run() -> None:
            self.step += 1
            make_crops(self.pixels, seeded_generator(0, self.step), config)

        return run

    def _kornia(self, image_size: int):
        from kornia import augmentation as K

        reach = max(1, round(image_size / 40))
        pipeline = K.AugmentationSequential(
            K.RandomResizedCrop((image_size, image_size), scale=(0.2, 1.0)),
            K.RandomHorizontalFlip(),
            K.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            K.RandomGrayscale(p=0.2),
            K.RandomGaussianBlur((2 * reach + 1, 2 * reach + 1), (0.1, 2.0), p=0.5),
            K.RandomSolarize(0.5, 0.0, p=0.2),
        )
        return lambda: pipeline(self.pixels)

    def _pil(self, image_size: int):
        from torchvision.transforms import v2

        transform = pil_transform(image_size, CropConfig())
        images = [v2.functional.to_pil_image(image) for image in self.pixels]
        return lambda: torch.stack([transform(image) for image in images])

    def time_views(self, *_: object) -> None:
        self.run()

    def peakmem_views(self, *_: object) -> None:
        self.run()


def pil_transform(image_size: int, crops: CropConfig) -> Callable[[Any], torch.Tensor]:
    """The official minimal script's transforms of a PIL image, with the recipe's parameters."""
    from torchvision.transforms import v2

    reach = max(1, round(image_size / 40))
    return v2.Compose(
        [
            v2.RandomResizedCrop(image_size, scale=crops.global_scale),
            v2.RandomApply(
                [v2.ColorJitter(crops.brightness, crops.contrast, crops.saturation, crops.hue)], p=crops.jitter
            ),
            v2.RandomGrayscale(p=crops.grayscale),
            v2.RandomApply([v2.GaussianBlur(2 * reach + 1, crops.sigma)], p=crops.blur),
            v2.RandomApply([v2.RandomSolarize(128)], p=crops.solarize),
            v2.RandomHorizontalFlip(crops.flip),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
