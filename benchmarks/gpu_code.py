"""What the Triton kernels become on a GPU of compute capability 9.0, which need not be there:

    python -m benchmarks.gpu_code [--out results/kernels_gpu_code]

Triton builds each kernel, in the blocks that its tuner chooses from, and the disassembler in Triton's package lists the
program: registers a thread, stack (numbers that found no register, in bytes), shared memory, and instructions a thread
executes for each of its elements: those of the loop over samples, or of the whole program where there is none, both
ways of a branch counted. They are counts, no times. ``--out`` writes rows.csv, figures.csv and manifest.json.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.table import figure, show, write
from sigreg_lab.experiment.provenance import now, provenance

WARP = 32
FLOATS = ("high", "low", "centre_high", "centre_low", "slope", "scale")
SPANNING = {"ORDER": 16, "CENTRE": 8, "REACH": 8, "DOUBLINGS": 3, "SPAN": 64}
NARROW = {"ORDER": 16, "REACH": 8, "DOUBLINGS": 3, "BLOCK_N": 64}
BFLOAT16 = {"x_ptr": "bf16", "a_ptr": "bf16", "g_ptr": "bf16"}


class Case(NamedTuple):
    """A kernel of a module, its constants and warps, pointers that are not float32, and elements in a pass."""

    module: str
    kernel: str
    constants: dict[str, int]
    warps: int
    pointers: dict[str, str]
    elements: int


def cases() -> dict[str, Case]:
    """17 points; every block of slices that the tuners try."""
    found = {}
    for width in (32, 64, 128):
        for scaled, pointers in ((0, {}), (1, {"g_ptr": "bf16"})):
            constants = {**SPANNING, "SCALED": scaled, "BLOCK_M": width}
            name = f"{'bfloat16' if scaled else 'float32'}, {width} slices"
            found[f"sums, {name}"] = Case("triton_sums", "_sums_kernel", constants, 1, {}, width)
            found[f"polynomial, {name}"] = Case("triton_sums", "_polynomial_kernel", constants, 1, pointers, width)
    for dim in (16, 64):
        for width, warps in ((64, 4), (128, 8)):
            constants = {**NARROW, "dim": dim, "BLOCK_K": dim, "BLOCK_M": width}
            for what in ("sums", "gradient"):
                kernel = f"_narrow_{what}_kernel"
                case = Case("triton_epps_pulley", kernel, constants, warps, BFLOAT16, 64 * width)
                found[f"{what}, projections not stored, bfloat16, K{dim}, {width} slices"] = case
    for n, warps in ((32, 1), (512, 1), (2048, 4), (16384, 16)):
        constants = {"ROUNDS": 3, "n": n, "LOG": n.bit_length() - 1}
        found[f"Hadamard, 3 rounds of {n}"] = Case("triton_hadamard", "_forward_kernel", constants, warps, {}, n)
        case = Case("triton_hadamard", "_transposed_kernel", {**constants, "blocks": 2}, warps, {}, n)
        found[f"Hadamard, transposed, 3 rounds of {n}"] = case
    constants = {"dim": 512, "BLOCK_K": 32, "BLOCK_M": 32}
    case = Case("triton_epps_pulley", "_round_kernel", constants, 4, {"rounded_ptr": "bf16"}, 1024)
    found["rounding of directions, K512"] = case
    constants = {"ORDER": 16, "SCALED": 1, "WITH_GRADIENT": 1, "PARTS": 8, "MOST": 128, "BLOCK_M": 128}
    wide = dict.fromkeys(("target_ptr", "weight_ptr", "value_ptr"), "fp64")
    found["errors, 128 parts"] = Case("triton_epps_pulley", "_errors_kernel", constants, 4, wide, 1024)
    return found


def counts(case: Case) -> dict[str, float]:
    """Builds a kernel and counts: registers, stack, shared memory, instructions for each element."""
    from importlib import import_module

    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    kernel = getattr(import_module(f"sigreg_lab.kernels.{case.module}"), case.kernel)
    signature = {name: _type(name, case) for name in kernel.arg_names}
    aligned = [name for name, kind in signature.items() if kind[0] == "*" or name in ("num_samples", "num_slices")]
    attributes = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(fn=kernel, signature=signature, constexprs=case.constants, attrs=attributes)
    options = {"num_warps": case.warps, "enable_fp_fusion": True}
    built = compile(source, target=GPUTarget("cuda", 90, WARP), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        instructions = _innermost_loop(_tool("nvdisasm", "-c", file.name))
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", usage)}
    return {
        "registers": found["REG"],
        "stack_bytes": found["STACK"],
        "shared_bytes": built.metadata.shared,
        "instructions": round(instructions * case.warps * WARP / case.elements, 2),
    }


def _type(name: str, case: Case) -> str:
    if name in case.constants:
        return "constexpr"
    if name.endswith("_ptr"):
        return "*" + case.pointers.get(name, "fp32")
    return "fp32" if name in FLOATS else "i32"


def _tool(name: str, *arguments: str) -> str:
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def _innermost_loop(listing: str) -> int:
    """Instructions between the last backward jump of the most and its target; all if nothing jumps backward."""
    labels: dict[str, int] = {}
    longest = count = 0
    for line in listing.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = count
        elif re.match(r"\s+/\*[0-9a-f]{4,}\*/", line):
            count += 1
            jump = re.search(r"\bBRA\b.*(\.L_x_\d+)", line)
            if jump and jump[1] in labels:
                longest = max(longest, count - labels[jump[1]])
    return longest if longest > 1 else count


class GpuCode:
    """The counts, across commits."""

    params = (list(cases()),)
    param_names = ("kernel",)

    def setup(self, name: str) -> None:
        try:
            self.counts = counts(cases()[name])
        except ImportError as reason:
            raise NotImplementedError(str(reason)) from reason

    def track_instructions_for_each_element(self, name: str) -> float:
        return self.counts["instructions"]

    def track_registers(self, name: str) -> float:
        return self.counts["registers"]

    def track_stack_bytes(self, name: str) -> float:
        return self.counts["stack_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for rows.csv, figures.csv and manifest.json")
    arguments = parser.parse_args()
    started = now()
    rows = [{"kernel": name, **counts(case)} for name, case in cases().items()]
    figures: list[dict[str, Any]] = []
    for row in rows:
        figure(figures, f"stack, {row['kernel']}, bytes", float(row["stack_bytes"]), 0, at_most=True)
    show(rows, figures, ("built for compute capability 9.0", "what is asked"))
    if arguments.out:
        write(arguments.out, rows, figures, {"started": started, "finished": now(), **provenance()})


if __name__ == "__main__":
    main()
