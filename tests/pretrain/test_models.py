"""timm's backbones by name: stems, sizes, tokens, options."""

import contextlib
import copy
import dataclasses
import sys

import pytest
import torch

from sigreg_lab.pretrain import PretrainConfig
from sigreg_lab.pretrain.crops import CropConfig
from sigreg_lab.pretrain.models import CHANNEL_MEAN, Encoder, build_encoder, small_resnet, synchronized
from sigreg_lab.pretrain.pictures import patch_components

IMAGES = PretrainConfig(augment="crops", embedding_dim=0, projector=(16, 4), backbone="resnet10t")
VIT = dataclasses.replace(IMAGES, backbone="test_vit", crops=CropConfig(global_views=2, local_views=1))


def test_a_resnet_gets_the_small_stem_on_small_images_only():
    small = build_encoder(dataclasses.replace(IMAGES, backbone="resnet18"), torch.rand(1, 3, 32, 32)).backbone
    assert small.conv1.kernel_size == (3, 3)
    assert small.conv1.stride == (1, 1)
    assert isinstance(small.maxpool, torch.nn.Identity)
    large = build_encoder(dataclasses.replace(IMAGES, backbone="resnet18"), torch.rand(1, 3, 96, 96)).backbone
    assert large.conv1.stride == (2, 2)


def test_a_vision_transformer_takes_global_and_local_views_at_once():
    encoder = build_encoder(VIT, torch.rand(1, 3, 64, 64)).eval()
    views, local = torch.rand(4, 3, 64, 64), torch.rand(2, 3, 32, 32)
    embedding, projection = encoder(views, local)
    assert embedding.shape == (6, encoder.embedding_dim)
    assert projection.shape == (6, 4)
    assert torch.allclose(encoder(local)[1], projection[4:], atol=1e-5)


def test_probe_features_are_the_class_tokens_of_the_last_two_blocks():
    encoder = build_encoder(VIT, torch.rand(1, 3, 32, 32)).eval()
    tokens = {}
    for index in (-2, -1):
        encoder.backbone.blocks[index].register_forward_hook(
            lambda _m, _i, out, index=index: tokens.__setitem__(index, out)
        )
    with torch.no_grad():
        features = encoder.features(torch.rand(3, 3, 32, 32))
    expected = torch.cat([encoder.backbone.norm(tokens[index])[:, 0] for index in (-2, -1)], 1)
    assert torch.allclose(features.probe, expected, atol=1e-5)
    assert features.projection.shape == (3, 4)


def test_register_tokens_patch_size_and_head_are_options():
    config = dataclasses.replace(VIT, register_tokens=2, patch_size=8, embedding_dim=24, drop_path=0.1)
    encoder = build_encoder(config, torch.rand(1, 3, 32, 32)).eval()
    assert encoder.backbone.num_prefix_tokens == 3
    assert encoder(torch.rand(2, 3, 32, 32))[0].shape == (2, 24)
    assert encoder.patch_tokens(torch.rand(2, 3, 32, 32)).shape[-2:] == (4, 4)
    with pytest.raises(ValueError, match="backbone resnet10t does not take the options"):
        build_encoder(dataclasses.replace(IMAGES, register_tokens=2), torch.rand(1, 3, 32, 32))


def test_images_are_standardised_by_channel():
    encoder = Encoder(torch.nn.Flatten(), 3, (2,), normalize=True)
    mean = torch.tensor(CHANNEL_MEAN).view(1, 3, 1, 1)
    assert torch.allclose(encoder(mean)[0], torch.zeros(1, 3), atol=1e-6)


def test_patch_components_tell_halves_of_an_image_apart():
    encoder = build_encoder(VIT, torch.rand(1, 3, 64, 64)).eval()
    pixels = torch.zeros(2, 3, 64, 64)
    pixels[..., 32:] = 1
    colours = patch_components(encoder, pixels)
    assert colours.shape[:2] == (2, 3)
    assert 0 <= colours.min() <= colours.max() <= 1
    middle = colours.shape[-1] // 2
    assert (colours[:, 0, :, :middle].mean() - colours[:, 0, :, middle:].mean()).abs() > 0.2
    assert patch_components(build_encoder(IMAGES, torch.rand(1, 3, 32, 32)), pixels) is None


def test_an_unknown_backbone_lists_near_ones():
    with pytest.raises(
        ValueError,
        match=r"unknown backbone 'resnet1'; known: small-conv, small-resnet, signal-conv and timm's models, such as",
    ):
        build_encoder(dataclasses.replace(IMAGES, backbone="resnet1"), torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("backbone", ["test_convnext", "test_resnet", "test_mambaout", "mobilenetv3_small_050"])
def test_the_embedding_is_as_wide_as_the_backbone_makes_it(backbone):
    encoder = build_encoder(dataclasses.replace(IMAGES, backbone=backbone), torch.rand(1, 3, 64, 64)).eval()
    embedding, projection = encoder(torch.rand(2, 3, 64, 64))
    assert embedding.shape == (2, encoder.embedding_dim)
    assert projection.shape == (2, 4)


def test_views_that_a_backbone_cannot_take_are_refused():
    with pytest.raises(ValueError, match="backbone test_vit does not take views of 3x64x64 and 3x30x30"):
        build_encoder(
            dataclasses.replace(VIT, crops=CropConfig(local_views=1, local_size=30)), torch.rand(1, 3, 64, 64)
        )


@pytest.mark.parametrize("backbone", ["small-resnet", "resnet10t", "resnext26ts", "regnety_002", "test_vit"])
def test_synchronised_batch_normalisation_changes_nothing_but_whose_statistics_it_takes(backbone):
    """Checked in evaluation, where it runs on a CPU; torch's own conversion loses the activations of two of these."""
    config = PretrainConfig(augment="crops", backbone=backbone, embedding_dim=0, projector=(16, 8), predictor=8)
    encoder = build_encoder(config, torch.zeros(1, 3, 32, 32)).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = encoder(pixels)
        converted = synchronized(copy.deepcopy(encoder))
        for one, two in zip(converted(pixels), expected, strict=True):
            assert torch.equal(one, two)
    layers = list(converted.modules())
    assert not [layer for layer in layers if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    assert [layer for layer in layers if isinstance(layer, torch.nn.SyncBatchNorm)]
    assert converted.state_dict().keys() == encoder.state_dict().keys()
    converted.train()
    with pytest.raises(ValueError, match="SyncBatchNorm expected input tensor to be on GPU"), _group():
        converted(pixels)


@contextlib.contextmanager
def _group():
    """As in a process group, where the layers look for others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "is_initialized", lambda: True)
        yield


def test_synchronised_batch_normalisation_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.layers", None)  # as where it is not installed
    encoder = synchronized(build_encoder(PretrainConfig(), torch.zeros(1, 1, 8, 8)))
    assert sum(isinstance(layer, torch.nn.SyncBatchNorm) for layer in encoder.modules()) == 4


@pytest.mark.parametrize("embedding_dim", [8, 16, 24, 64])
def test_a_narrow_resnet_has_the_right_gradient_in_every_layout(embedding_dim):
    """oneDNN wrote past its workspace where a strided 1 x 1 convolution had fewer than 8, or 16, channels."""
    torch.manual_seed(0)
    network, pixels = small_resnet(3, embedding_dim), torch.rand(16, 3, 16, 16)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert all(module.stride == (1, 1) for module in convolutions if module.kernel_size == (1, 1))
    exact = copy.deepcopy(network).double()
    exact(pixels.double()).square().mean().backward()
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = copy.deepcopy(network).to(memory_format=layout)
        ours(pixels.contiguous(memory_format=layout)).square().mean().backward()
        for (name, one), other in zip(ours.named_parameters(), exact.parameters(), strict=True):
            difference = (one.grad.double() - other.grad).norm()
            assert difference < 1e-3 * other.grad.norm() + 1e-6, name
