"""Trains one small language model under several recipes, on the CPU, and holds that losses are finite and fall, and
that the same seed gives the same bits again. Writes losses.csv, table.md and losses.svg."""

import argparse
import hashlib
import math
import pathlib
import sys
import time

import torch

import nvfp4.torch
from language_model import Characters, LanguageModel, text
from loss_plot import loss_plot

RECIPES = ["bf16", "nvfp4_plain", "nvidia", "averis", "chon", "mxfp4"]
RULES = {"keep": ["head"]}


def digest(model, losses):
    """Of every bit of the weights, of what schemes keep, and of the losses."""
    h = hashlib.sha256(repr(losses).encode())
    for value in model.state_dict().values():
        h.update(value.numpy().tobytes())
    return h.hexdigest()


class Run:
    def __init__(self, recipe, data, options):
        torch.manual_seed(options.seed)
        model = LanguageModel(len(data.alphabet), options.width, options.blocks, length=options.length)
        self.model = nvfp4.torch.convert(model, recipe, RULES, seed=options.seed)
        self.optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, foreach=False)
        self.batches = torch.Generator().manual_seed(options.seed)
        self.data, self.shape, self.losses = data, (options.rows, options.length), []

    def step(self):
        loss = self.model.loss(*self.data.batch(self.data.training, *self.shape, self.batches))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        nvfp4.torch.advance(self.model)
        self.losses.append(loss.item())

    def trained(self, steps):
        while len(self.losses) < steps:
            self.step()
        return self

    @torch.no_grad()
    def evaluated(self, batches=4):
        self.model.eval()
        generator = torch.Generator().manual_seed(0)
        made = [self.model.loss(*self.data.batch(self.data.evaluation, *self.shape, generator)) for _ in range(batches)]
        self.model.train()
        return sum(loss.item() for loss in made) / batches

    @property
    def bits(self):
        return digest(self.model, self.losses)


def faults(losses, repeated):
    """What does not hold of a training."""
    window = max(1, len(losses) // 10)
    first, last = sum(losses[:window]) / window, sum(losses[-window:]) / window
    finite = all(map(math.isfinite, losses))
    return [fault for fault, there in (("a loss is not finite", not finite), ("losses do not fall", not last < first),
                                       ("the same seed gave other bits", not repeated)) if there]


def train(recipe, data, options):
    """A row of the table: losses, evaluation, faults."""
    begin = time.perf_counter()
    run = Run(recipe, data, options).trained(options.again)
    bits = run.bits
    run.trained(options.steps)
    seconds = time.perf_counter() - begin
    repeated = Run(recipe, data, options).trained(options.again).bits == bits
    return {"recipe": recipe, "losses": run.losses, "evaluation": run.evaluated(), "bits": run.bits[:16],
            "seconds": seconds / options.steps, "faults": faults(run.losses, repeated)}


def table(rows):
    lines = ["| recipe | first loss | last loss (mean of 10) | evaluation | over bf16 | s a step | bits | holds |",
             "|---|---|---|---|---|---|---|---|"]
    base = {row["recipe"]: row["evaluation"] for row in rows}.get("bf16")
    for row in rows:
        over = "" if base is None else f"{100 * (row['evaluation'] / base - 1):+.2f} %"
        last = row["losses"][-10:]
        lines.append(f"| {row['recipe']} | {row['losses'][0]:.4f} | {sum(last) / len(last):.4f} | "
                     f"{row['evaluation']:.4f} | {over} | {row['seconds']:.2f} | {row['bits']} | "
                     f"{'; '.join(row['faults']) or 'yes'} |")
    return "\n".join(lines) + "\n"


def write(rows, folder):
    folder.mkdir(parents=True, exist_ok=True)
    steps = zip(*(row["losses"] for row in rows))
    lines = [",".join(["step", *(row["recipe"] for row in rows)])]
    lines += [",".join([str(i), *(f"{loss:.9g}" for loss in losses)]) for i, losses in enumerate(steps)]
    (folder / "losses.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table(rows), encoding="utf-8")
    (folder / "losses.svg").write_text(loss_plot({row["recipe"]: row["losses"] for row in rows}), encoding="utf-8")


def parsed(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=pathlib.Path, default=pathlib.Path("training"),
                        help="folder of the artefacts")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    numbers = {"steps": 200, "again": 20, "seed": 1, "width": 128, "blocks": 2, "rows": 4, "length": 64}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parsed(arguments)
    options.again = min(options.again, options.steps)
    data, rows = Characters(text()), []
    for recipe in options.recipes:
        rows.append(train(recipe, data, options))
        print(f"{recipe}: loss {rows[-1]['losses'][0]:.4f} to {rows[-1]['losses'][-1]:.4f}", flush=True)
    write(rows, options.out)
    print(table(rows), end="")
    return 1 if any(row["faults"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
