"""Multi-crop views: each operation against torchvision's, each sample with its own parameters."""

import pytest
import torch
from torchvision.transforms import functional

from sigreg_lab.pretrain.crops import COLOUR, CropConfig, blur, crop, gray, make_crops
from sigreg_lab.slicing import seeded_generator

STILL = CropConfig(
    global_views=2,
    global_scale=(1.0, 1.0),
    ratio=(1.0, 1.0),
    flip=0.0,
    jitter=0.0,
    grayscale=0.0,
    blur=0.0,
    solarize=0.0,
)
PIXELS = torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize("amount", [0.0, 0.35, 1.4, -0.2])
def test_colour_operations_are_torchvisions(name, amount):
    if name == "hue":
        amount = min(amount, 0.5)
    elif amount < 0:
        amount = 2.0
    pixels = PIXELS.clone()
    pixels[0, :, :4] = 0.5  # grey has no hue
    expected = getattr(functional, f"adjust_{name}")(pixels, amount)
    actual = COLOUR[name](pixels, torch.full((6, 1, 1, 1), amount))
    # torchvision's grey weights are (0.2989, 0.587, 0.114): they sum to 0.9999
    assert torch.allclose(actual, expected, atol=2e-4)


def test_grey_and_blur_are_torchvisions():
    assert torch.allclose(gray(PIXELS), functional.rgb_to_grayscale(PIXELS), atol=2e-4)
    sigma = torch.tensor([0.1, 0.5, 1.0, 1.5, 2.0, 0.7])
    expected = torch.cat([functional.gaussian_blur(PIXELS[i : i + 1], 7, s.item()) for i, s in enumerate(sigma)])
    assert torch.allclose(blur(PIXELS, sigma, 3), expected, atol=1e-5)


def test_a_crop_at_whole_pixels_is_the_rectangle_and_its_mirror():
    quarter = torch.tensor([0.5])
    left = torch.tensor([-0.5])
    cut = crop(PIXELS[:1], left, -left, quarter, quarter, 12)
    assert torch.allclose(cut, PIXELS[:1, :, 12:, :12], atol=1e-5)
    assert torch.allclose(crop(PIXELS[:1], left, -left, -quarter, quarter, 12), cut.flip(-1), atol=1e-5)


def test_with_everything_off_views_are_the_images():
    (views,) = make_crops(PIXELS, seeded_generator(0), STILL)
    assert views.shape == (2, 6, 3, 24, 24)
    assert torch.allclose(views, PIXELS.expand(2, -1, -1, -1, -1), atol=1e-5)


def test_sizes_and_range_of_global_and_local_views():
    config = CropConfig(global_views=2, local_views=3, global_size=32, local_size=16)
    views, local = make_crops(PIXELS, seeded_generator(0), config)
    assert views.shape == (2, 6, 3, 32, 32)
    assert local.shape == (3, 6, 3, 16, 16)
    for group in (views, local):
        assert 0 <= group.min() <= group.max() <= 1


def test_the_generator_is_the_only_randomness_and_samples_differ():
    same = PIXELS[:1].repeat(4, 1, 1, 1)
    (one,) = make_crops(same, seeded_generator(0), CropConfig())
    assert torch.equal(one, make_crops(same, seeded_generator(0), CropConfig())[0])
    assert not torch.equal(one, make_crops(same, seeded_generator(1), CropConfig())[0])
    flat = one.flatten(0, 1).flatten(1)
    assert torch.cdist(flat, flat).add(torch.eye(len(flat)) * 1e3).min() > 0.1


@pytest.mark.parametrize("name", ["flip", "grayscale", "solarize"])
def test_probabilities_are_those_asked_for(name):
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2)).repeat(2000, 1, 1, 1)
    (views,) = make_crops(pixels, seeded_generator(3), STILL._replace(global_views=1, **{name: 0.3}))
    changed = (views[0] - pixels).abs().amax((1, 2, 3)) > 1e-3
    assert abs(changed.float().mean().item() - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5


def test_crops_cover_the_share_of_the_area_asked_for():
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64).contiguous()
    config = STILL._replace(global_views=1, global_scale=(0.25, 0.25))
    (views,) = make_crops(ramp, seeded_generator(0), config)
    width = views[0].amax((1, 2, 3)) - views[0].amin((1, 2, 3))
    assert torch.allclose(width, torch.full_like(width, 0.5), atol=0.03), "a quarter of the area is half the side"
    assert views[0].mean((1, 2, 3)).std() > 0.1, "crops lie at different places"


def test_images_of_one_channel_are_cropped_but_not_coloured():
    (views,) = make_crops(PIXELS[:, :1], seeded_generator(0), CropConfig())
    assert views.shape == (4, 6, 1, 24, 24)
