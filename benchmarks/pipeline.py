"""Images a second, end to end: our views against PIL transforms in DataLoader workers, one network, one run.

    python -m benchmarks.pipeline [--recipe imagenette-vit-s8] [--data PATH] [--out results/pipeline]

The same training step (encoder, LeJEPA loss, backward, AdamW; bfloat16 on a GPU that has it) is fed in turn by

    ours      images decoded once, held on the device, cut and coloured there in batches
    PIL       the official minimal script's way: DataLoader workers decode an image, then make each view by
              torchvision's transforms on PIL images; batches are pinned and copied
    nothing   the same views again and again: what the network alone can do

in rounds, so that a busy machine slows all alike; and without a network, each feed by itself. Without ``--data`` the
images are made up, JPEG files of the recipe's size. ``--out`` writes rows.csv, figures.csv and manifest.json.
"""

import argparse
import dataclasses
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.cases import synchronize
from benchmarks.pretrain import pil_transform
from benchmarks.table import show, write
from sigreg_lab.experiment import mean_interval
from sigreg_lab.experiment.provenance import now, provenance
from sigreg_lab.pretrain.config import RECIPES, PretrainConfig, configure
from sigreg_lab.pretrain.crops import make_crops
from sigreg_lab.pretrain.data import Images
from sigreg_lab.pretrain.loop import Run, make_fabric, make_loss, resolved
from sigreg_lab.pretrain.models import build_encoder
from sigreg_lab.pretrain.sources import Source, decode, read_path
from sigreg_lab.regularizers import LeJEPATerms
from sigreg_lab.slicing import seeded_generator

Views = Iterator[Tensor]
WARM_UP = 2  # steps of each turn that do not count: workers start, queues fill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cifar10-resnet18", choices=[r for r in RECIPES if r != "digits"])
    parser.add_argument("--data", help="image folder or parquet file; made up if not given")
    parser.add_argument("--images", type=int, default=4096, help="of the data, at most")
    parser.add_argument("--batch-size", type=int, help="the recipe's if not given")
    parser.add_argument("--steps", type=int, default=20, help="in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="of the DataLoader")
    parser.add_argument("--out", type=Path, help="folder for rows.csv, figures.csv and manifest.json")
    arguments = parser.parse_args()
    started, load = now(), os.getloadavg()[0]
    config = configure("here", "sigreg-ep", 0, ["online_probe=false"], arguments.recipe)
    if config.crops.local_views:
        parser.error(f"recipe {arguments.recipe} has local views; the official minimal script has none")
    source = read_path(Path(arguments.data))["train"] if arguments.data else made_up(arguments.images, config)
    source = source.take(np.arange(min(arguments.images, len(source.labels))))
    size = min(arguments.batch_size or config.batch_size, len(source.labels))
    config = resolved(dataclasses.replace(config, batch_size=size), len(source.labels))

    start = time.perf_counter()
    pixels = decode(source, config.image_size).pixels
    decoding = time.perf_counter() - start
    fabric = make_fabric(config)
    device = fabric.device
    feeds: dict[str, Callable[[], Views]] = {
        "ours": lambda: ours(Images(pixels, torch.zeros(len(pixels))).to(device), config),
        "PIL": lambda: pil(source, config, arguments.workers, device),
    }
    first = next(feeds["ours"]())
    step = training_step(config, fabric, pixels)
    contestants: dict[str, tuple[Callable[[], Views], Callable[[Tensor], None]]] = {
        **{f"{name}, network": (feed, step) for name, feed in feeds.items()},
        "network alone": (lambda: repeat(first), step),
        **{f"{name}, no network": (feed, lambda views: None) for name, feed in feeds.items()},
    }
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(arguments.rounds):
        for name, (feed, use) in contestants.items():
            taken[name].append(seconds_per_step(feed, use, arguments.steps))
        print(f"round {turn + 1} of {arguments.rounds}", flush=True)

    rows = [
        {
            "contestant": name,
            "images_per_second": round(size / statistics.median(seconds), 2),
            "turns": len(seconds),
            "steps": arguments.steps,
        }
        for name, seconds in taken.items()
    ]
    figures = [
        ratio("PIL over ours, with the network", taken["PIL, network"], taken["ours, network"]),
        ratio("PIL over ours, without", taken["PIL, no network"], taken["ours, no network"]),
        ratio("ours over the network alone", taken["ours, network"], taken["network alone"]),
        ratio("PIL over the network alone", taken["PIL, network"], taken["network alone"]),
        {"what": "decoding all images once, seconds", "reached": round(decoding, 2), "low": "", "high": ""},
    ]
    if arguments.out:
        session = {"started": started, "finished": now(), "load_before": load, "workers": arguments.workers}
        session |= {
            "threads": torch.get_num_threads(),
            "images": len(pixels),
            "data": "given" if arguments.data else "made up",
        }
        session |= {"recipe": arguments.recipe, "batch_size": size, "views": config.crops.global_views}
        write(arguments.out, rows, figures, {**session, **provenance()})
    show(rows, figures, ("medians over turns", "ratios of times, 95%"))


def ratio(what: str, above: list[float], below: list[float]) -> dict[str, Any]:
    """Mean over rounds of the ratio of times, with Student's interval on the logarithm."""
    logs = np.log(above) - np.log(below)
    low, high = mean_interval(logs)
    digits = (round(float(np.exp(value)), 3) for value in (logs.mean(), low, high))
    return dict(zip(("what", "reached", "low", "high"), (what, *digits), strict=True))


def seconds_per_step(feed: Callable[[], Views], use: Callable[[Tensor], None], steps: int) -> float:
    views = feed()
    for _ in range(WARM_UP):
        use(next(views))
    synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        use(next(views))
    synchronize()
    return (time.perf_counter() - start) / steps


def training_step(config: PretrainConfig, fabric: Any, pixels: Tensor) -> Callable[[Tensor], None]:
    """One step of the optimiser on views (V, N, 3, S, S)."""
    encoder = build_encoder(config, pixels[:1]).to(fabric.device)
    on_gpu = fabric.device.type == "cuda"
    if on_gpu:
        encoder = encoder.to(memory_format=torch.channels_last)
    adamw = torch.optim.AdamW(encoder.parameters(), lr=config.lr, fused=True if on_gpu else None)
    model, optimizer = fabric.setup(encoder, adamw)
    loss_fn, generator = make_loss(config), seeded_generator(0)

    def step(views: Tensor) -> None:
        optimizer.zero_grad()
        projection = model(views.flatten(0, 1))[1]
        fabric.backward(loss_fn(projection.unflatten(0, views.shape[:2]), generator).total)
        optimizer.step()

    return step


def ours(images: Images, config: PretrainConfig) -> Views:
    for step in range(2**30):
        rows = torch.randint(len(images.labels), (config.batch_size,), generator=seeded_generator(0, step))
        pixels, _ = images.take(rows, images.labels.device)
        yield make_crops(pixels, seeded_generator(0, step, device=pixels.device), config.crops)[0]


def pil(source: Source, config: PretrainConfig, workers: int, device: torch.device) -> Views:
    loader = DataLoader(
        ViewsOfFiles(source, config),
        config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        multiprocessing_context="fork" if workers else None,
    )
    while True:
        for batch in loader:
            yield batch.to(device, non_blocking=True).transpose(0, 1)


def repeat(views: Tensor) -> Views:
    while True:
        yield views


class NetworkAlone(Run):
    """A run whose views are always the same, and whose loss is next to nothing."""

    def augment(self, pixels: Tensor) -> list[Tensor]:
        if not hasattr(self, "held"):
            self.held = [group.clone() for group in super().augment(pixels)]
        return self.held

    def _loss(self, outputs: Tensor, centre: Tensor | None) -> LeJEPATerms:
        value = outputs.float().square().mean()
        return LeJEPATerms(value, value, value)


class FedByPil(Run):
    """A run whose views come from worker processes, as the official minimal script makes them."""

    def begin(self, source: Source, workers: int) -> None:
        self.feed = pil(source, self.config, workers, self.fabric.device)

    def augment(self, pixels: Tensor) -> list[Tensor]:
        return [next(self.feed)]


def timed(run: Run, feed: Iterator[tuple[int, Any]], count: int) -> float:
    """Seconds of a step, the mean of ``count``."""
    synchronize()
    start = time.perf_counter()
    for _ in range(count):
        number, batch = next(feed)
        run.watch.start()
        run.step(number, batch, False)
    synchronize()
    return (time.perf_counter() - start) / count


class ViewsOfFiles(Dataset[Tensor]):
    """Views of an encoded image, each decoded and transformed when asked for: (V, 3, S, S)."""

    def __init__(self, source: Source, config: PretrainConfig) -> None:
        self.source, self.views = source, config.crops.global_views
        self.transform = pil_transform(config.image_size, config.crops)

    def __len__(self) -> int:
        return len(self.source.labels)

    def __getitem__(self, row: int) -> Tensor:
        image = self.source.open(row).convert("RGB")
        return torch.stack([self.transform(image) for _ in range(self.views)])


def made_up(count: int, config: PretrainConfig) -> Source:
    """JPEG images with large and small structure, noise whose amplitude falls with its frequency."""
    from PIL import Image

    rng, side = np.random.default_rng(0), config.image_size
    fy, fx = np.fft.fftfreq(side)[:, None, None], np.fft.rfftfreq(side)[None, :, None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / side)
    files = []
    for _ in range(count):
        noise = np.fft.rfft2(rng.standard_normal((side, side, 3)), axes=(0, 1)) * amplitude
        image = np.fft.irfft2(noise, s=(side, side), axes=(0, 1))
        image = 128 + 50 * (image - image.mean()) / image.std()
        buffer = io.BytesIO()
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(buffer, format="JPEG", quality=90)
        files.append(buffer.getvalue())
    labels = np.arange(count) % 2
    return Source(lambda row: Image.open(io.BytesIO(files[row])), labels, lambda row: f"image {row}", ["a", "b"])


if __name__ == "__main__":
    main()
