"""tdspec's training step beside the same step in PyTorch, eager and by torch.compile.

    python tests/benchmarks/pytorch.py [--python PYTHON_WITH_TORCH] [--kinds eager compiled]
        [--steps 3] [--rounds 7] [--cases NAME ...]

In: nothing; weights, images and labels are random. Out: one line of JSON: by case, seconds of tdspec's step over those
of PyTorch's, eager and compiled, medians over rounds that take turns; below 1 tdspec is the faster. "cache, eager" is
tdspec's with the teacher's states kept, over PyTorch's as before.
PyTorch runs in a process of its own, of a Python that has it (by default this one), with as many threads.
Leaves out: the objective (`by_hand.py`), the input pipeline, several devices.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from asking import answer, process_of
from by_hand_conv import weights_and_objective
from step_cases import CASES, batch_of

KINDS = ("eager", "compiled")
FROZEN = ("teacher", "moving")  # owners of weights that no gradient changes


class Torch:
    """The objective's operations."""

    def __init__(self) -> None:
        import torch

        self.torch, self.nn = torch, torch.nn.functional

    def dense(self, x: Any, kernel: Any, bias: Any) -> Any:
        return self.torch.addmm(bias, x.flatten(0, -2), kernel).unflatten(0, x.shape[:-1])

    def layer_norm(self, x: Any, gamma: Any, beta: Any) -> Any:
        return self.nn.layer_norm(x, x.shape[-1:], gamma, beta, 1e-6)

    def split_heads(self, x: Any, heads: int) -> list[Any]:
        return list(x.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4))

    def attention(self, query: Any, key: Any, value: Any) -> Any:
        return self.nn.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    def gelu(self, x: Any) -> Any:
        return self.nn.gelu(x)

    def relu(self, x: Any) -> Any:
        return self.nn.relu(x)

    def join(self, *parts: Any) -> Any:
        return self.torch.cat(parts, -1)

    def patches(self, image: Any, patch: int) -> Any:
        x = image.float() / 255.0
        if not patch:
            return x.flatten(1)
        x = x.unflatten(2, (-1, patch)).unflatten(1, (-1, patch))
        return x.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)

    def with_token(self, x: Any, token: Any, positions: Any) -> Any:
        return self.torch.cat([token.expand(len(x), -1, -1), x], 1) + positions

    def constant(self, x: Any) -> Any:
        return x.detach()

    def cross_entropy(self, logits: Any, label: Any) -> Any:
        return self.nn.cross_entropy(logits, label)

    def as_float(self, image: Any) -> Any:
        return image.float()

    def _conv(self, x: Any, kernel: Any, stride: int, groups: int) -> Any:
        # memory keeps its order (batch, height, width, channels) throughout
        y = self.nn.conv2d(x.permute(0, 3, 1, 2), kernel, None, stride, kernel.shape[-1] // 2, 1, groups)
        return y.permute(0, 2, 3, 1)

    def conv(self, x: Any, kernel: Any, stride: int) -> Any:
        return self._conv(x, kernel.permute(3, 2, 0, 1), stride, 1)

    def depthwise(self, x: Any, kernel: Any, stride: int) -> Any:
        return self._conv(x, kernel.permute(2, 3, 0, 1), stride, len(kernel.permute(2, 3, 0, 1)))

    def relu6(self, x: Any) -> Any:
        return self.nn.relu6(x)

    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        y = self.nn.batch_norm(x.permute(0, 3, 1, 2), mean, variance, gamma, beta, True, 0.1, 1e-5)
        return y.permute(0, 2, 3, 1)

    def max_pool(self, x: Any) -> Any:
        return self.nn.max_pool2d(x.permute(0, 3, 1, 2), 3, 2, 1).permute(0, 2, 3, 1)

    def resize(self, x: Any, size: int) -> Any:
        if x.shape[1] == size:
            return x
        return self.nn.interpolate(x.permute(0, 3, 1, 2), (size, size), mode="bilinear").permute(0, 2, 3, 1)

    def mean_position(self, x: Any) -> Any:
        return x.mean((1, 2))

    def relative_l2(self, target: Any, prediction: Any) -> Any:
        return (target - prediction).square().sum() / (target - target.mean(0)).square().sum()


def serve(path: str) -> None:
    """Of PyTorch's process: reads "KIND STEPS" a line, writes seconds a step; the first word is the objective.

    To "profile STEPS" it writes what `Process.operations` gives.
    """
    import torch

    case, objective_class, arrays, images, label = pickle.loads(Path(path).read_bytes())
    image, label = torch.tensor(images), torch.tensor(label).long()
    objective = objective_class(Torch(), case)
    steps = {}
    for kind in KINDS:
        weights = {side: [torch.tensor(array) for array in found] for side, found in arrays.items()}
        trained = [w.requires_grad_() for side, found in weights.items() if side not in FROZEN for w in found]
        optimizer = torch.optim.AdamW(trained, lr=0.001, weight_decay=0.0, fused=True)
        steps[kind] = _step(objective, image, label, weights, optimizer, compiled=kind == "compiled")
    print(objective(image, label, weights).item(), flush=True)
    for line in sys.stdin:
        kind, count = line.split()
        if kind == "profile":
            print(json.dumps(_operations(steps["eager"], int(count))), flush=True)
            continue
        start = time.perf_counter()
        for _ in range(int(count)):
            steps[kind]()
        print((time.perf_counter() - start) / int(count), flush=True)


def _step(objective: Any, image: Any, label: Any, weights: Any, optimizer: Any, *, compiled: bool) -> Any:
    import torch

    run = torch.compile(objective.__call__) if compiled else objective

    def step() -> None:
        optimizer.zero_grad()
        run(image, label, weights).backward()
        optimizer.step()

    return step


def _operations(step: Any, count: int) -> dict[str, float]:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(count):
            step()
    return {each.key: each.self_cpu_time_total / 1000 / count for each in profile.key_averages()}


class Process:
    """PyTorch in a process of its own."""

    def __init__(self, python: str, compiled: Any, name: str):
        features, label, _ = batch_of(name)
        arrays, objective = weights_and_objective(compiled, CASES[name])
        with tempfile.NamedTemporaryFile(delete=False) as file:
            pickle.dump((CASES[name], objective, arrays, features["image"].numpy(), label.numpy()), file)
        call = [python, __file__, "--serve", file.name]
        # A cache of its own: what a killed process left half-written in the common one would stop this.
        self._cache = tempfile.TemporaryDirectory()
        self._process = process_of(*call, TORCHINDUCTOR_CACHE_DIR=self._cache.name)
        self.loss = float(self._process.stdout.readline())
        Path(file.name).unlink()

    def seconds(self, kind: str, steps: int) -> float:
        """Of one step."""
        return float(answer(self._process, f"{kind} {steps}"))

    def operations(self, steps: int) -> dict[str, float]:
        """Milliseconds of an eager step by the name of PyTorch's operation."""
        found: dict[str, float] = answer(self._process, f"profile {steps}")
        return found

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._cache.cleanup()


def require_torch(python: str) -> None:
    """End with a sentence where that Python has no PyTorch."""
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
        sys.exit(f"{python} has no torch: name a Python that has, by --python")


def ratios(name: str, python: str, kinds: list[str], steps: int, rounds: int) -> dict[str, float]:
    """The median over rounds of tdspec's time over PyTorch's, by how PyTorch runs."""
    import environment  # noqa: F401
    import tensorflow as tf
    from step import seconds, tdspec_step

    compiled, ours = tdspec_step(name)
    torch = Process(python, compiled, name)
    _, cached = tdspec_step(name, cache=True)
    for run in (ours, cached):
        run(tf.constant(1))
    expected = float(compiled.distiller.metrics[0].result())
    assert abs(torch.loss - expected) < 1e-3 * expected, (torch.loss, expected)
    for kind in kinds:
        torch.seconds(kind, 2)
    found: dict[str, list[float]] = {f"{word}{kind}": [] for kind in kinds for word in ("", "cache, ")}
    for _ in range(rounds):
        own, with_cache = seconds(ours, steps), seconds(cached, steps)
        for kind in kinds:
            theirs = torch.seconds(kind, steps)
            found[kind].append(own / theirs)
            found[f"cache, {kind}"].append(with_cache / theirs)
    torch.close()
    return {kind: round(statistics.median(values), 3) for kind, values in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
    else:
        require_torch(given.python)
        options = (given.python, given.kinds, given.steps, given.rounds)
        print(json.dumps({name: ratios(name, *options) for name in given.cases}))


if __name__ == "__main__":
    main()
