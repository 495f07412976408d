"""docs/gpu.md says what results/device holds."""

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gpu.md").read_text()


def rows(part, name="rows"):
    with (ROOT / "results" / "device" / part / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines(start):
    return [line for line in PAGE.splitlines() if line.startswith(start)]


def test_checks_and_their_failures():
    checks = rows("check", "figures")
    assert f"{len(checks)} checks were run and none failed" in PAGE
    assert not [row for row in checks if row["met"] == "no"]


def test_the_record():
    found = {row["what"]: float(row["reached"]) for row in rows("record", "figures")}
    for what, digits in (("linear", 4), ("knn", 4), ("seconds", 2)):
        mean, low, high = (f"{found[f'{what}, {part}, 3 seeds']:.{digits}f}" for part in ("mean", "low", "high"))
        assert f"{mean} ({low}, {high})" in PAGE


def test_the_settings_tried():
    for row in rows("recipes"):
        shown = f"| {row['epochs']} | {float(row['validation']):.4f} | {float(row['linear']):.4f} |"
        assert shown in PAGE, row["settings"]


def test_the_step():
    for row in rows("step"):
        if row["what"].endswith("graph"):
            assert f"{int(row['images_per_second']):,}" in PAGE
    for row in rows("step", "figures"):
        value = float(row["reached"])
        assert (f"{100 * value:.1f}%" if value < 1 else f"{value:.2f}") in PAGE


def test_the_comparison():
    runs = rows("runs")
    for name in dict.fromkeys(row["regularizer"] for row in runs):
        own = [row for row in runs if row["regularizer"] == name and row["stage"] == "report"]
        label = {"none": "no regulariser", "untrained": "untrained encoder"}.get(name, name)
        (line,) = lines(f"| {label} |")
        for measure in ("linear", "knn"):
            assert ", ".join(f"{float(row[measure]):.4f}" for row in own) in line
        tuned = [row for row in runs if row["regularizer"] == name and row["stage"] == "tune"]
        if tuned:
            best = max(tuned, key=lambda row: float(row["validation"]))
            assert f"| {best['lam']}" in line
            assert ("largest" in line) == (float(best["lam"]) == max(float(row["lam"]) for row in tuned))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_kernels(dtype):
    names = {"published formula": "published formula", "formula, node by node": "the same, one grid point at a time",
             "ours: triton": "ours", "two products": "the two products alone"}  # fmt: skip
    times = {(row["what"], row["contestant"]): float(row["median_ms"]) for row in rows("kernels")}
    for contestant, label in names.items():
        (line,) = lines(f"| {label} |")
        for what in (f"loss, {dtype}, CUDA graph", f"loss, {dtype}"):
            assert f" {times[what, contestant]:.3f} " in line
    for row in rows("kernels", "figures"):
        if row["what"].startswith("published formula over ours") and dtype in row["what"]:
            assert f"{float(row['reached']):.1f}" in lines("| **published")[0]


def test_how_near_the_goals_can_come():
    with (ROOT / "results" / "kernels_gpu_code" / "rows.csv").open(newline="") as file:
        code = {row["kernel"]: float(row["instructions"]) for row in csv.DictReader(file)}
    instructions = sum(code[f"{kernel}, bfloat16, 64 slices"] for kernel in ("sums", "polynomial"))
    times = {row["contestant"]: float(row["median_ms"]) for row in rows("kernels") if row["what"].endswith("CUDA graph")
             and row["what"].startswith("loss, bfloat16")}  # fmt: skip
    products, formula = times["two products"], times["published formula"]
    least = 1e3 * 8192 * 1024 * instructions / 32 / (132 * 4 * 1.98e9)
    (start,) = (at for at, line in enumerate(PAGE.splitlines()) if line.startswith("How near the goals"))
    told = " ".join(PAGE.splitlines()[start : start + 5])
    for said in (
        f"{instructions:.0f} instructions", f"take {least:.3f} ms", f"{least + products:.3f} ms",
        f"{(least + products) / products:.1f} times", f"a {formula / (least + products):.0f}th",
    ):  # fmt: skip
        assert said in told
