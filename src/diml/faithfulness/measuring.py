"""One run: pairs, a model and methods in, a report out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from diml.errors import DatasetError, UsageError
from diml.evaluation.protocol import Progress
from diml.explanation.methods.method import Method, MethodResult
from diml.explanation.methods.pixels import filling, in_input_size
from diml.explanation.methods.registry import methods
from diml.faithfulness.correspondence import Correct, correct_keypoints
from diml.faithfulness.deletion import MEASURED, removal_curves
from diml.faithfulness.grids import Grid, at_grid
from diml.faithfulness.pairs import Pair, Seen, see
from diml.faithfulness.report import Account, Faithfulness, Keypoints, Removal
from diml.faithfulness.rows import account_row, keypoints_row, removal_row
from diml.faithfulness.stability import stability
from diml.model import StructuralModel

MEASURES = ("deletion", "correspondence", "stability")
# Grids on which keypoints are looked for beside the model's own.
FINER: tuple[Grid, ...] = ((7, 7), (14, 14))


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        measures: some of `MEASURES`; completeness and time come with any.
        fills: what takes the place of removed cells, see `FILLS`.
        steps: of deletion and insertion.
        against: the methods with a heat over which gains are counted.
        grids: for the keypoints; None for the model's own and those of `FINER` that it can give.
        stable_pairs: pairs on which the stability is measured, at most.
        batch_size: images per pass of the model.
        seed: of ties, bootstrap and noise.

    Raises:
        UsageError: an unknown measure, fill or method to compare with, or a number out of its range.
    """

    measures: Sequence[str] = MEASURES
    fills: Sequence[str] = ("blur",)
    steps: int = 8
    against: Sequence[str] = ("random", "centre")
    grids: Sequence[Grid] | None = None
    stable_pairs: int = 20
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for measure in self.measures:
            if measure not in MEASURES:
                raise UsageError(f"the measure {measure!r} came; expected some of {', '.join(MEASURES)}")
        for fill in self.fills:
            filling(fill)
        for method in methods(self.against) if self.against else ():
            if not method.heats:
                raise UsageError(f"the method {method.name} gives no heat to be compared with; try random or centre")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed {self.seed} came; expected 0 to {2**32 - 1}")
        for name in ("steps", "stable_pairs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', ' ')} {getattr(self, name)} came; expected at least 1")


def measure_faithfulness(
    dataset: str,
    pairs: Sequence[Pair],
    model: StructuralModel,
    chosen: Sequence[Method],
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> Faithfulness:
    """Measure how far the explanations by some methods can be trusted.

    Args:
        dataset: the name of what the pairs are of.
        pairs: what is explained; correspondence is measured on those with points.
        model: whose similarity is explained.
        chosen: methods with heats, correspondences, or both. Those that gains are counted over, and the random
            control, are measured with them in any case.
        plan: what is measured, and how.
        progress: see `Progress`.

    Raises:
        DatasetError: not one pair could be read.
        UsageError: a grid that the model cannot give.
    """
    plan = plan or Plan()
    run = _Run(model, list(chosen), plan, progress or (lambda stage, done, total: None))
    there = {method.name for method in chosen}
    missing = [name for name in dict.fromkeys((*plan.against, "random")) if name not in there]
    if missing:
        run.methods.extend(methods(missing))
    seen = run.see(model, pairs, "embedding")
    run.skipped.extend(run.failed)
    if not seen:
        first = f", such as {run.failed[0][1]}" if run.failed else ""
        raise DatasetError(f"{dataset}: not one of its {len(pairs)} pairs can be read{first}")
    keypoints = run.keypoints(pairs) if "correspondence" in run.plan.measures else []
    explained, times = run.explain(seen)
    removal, shares = run.removal(seen, explained) if "deletion" in run.plan.measures else ([], [])
    return Faithfulness(
        dataset=dataset,
        model=model.name,
        head=model.head_fitted_on,
        pairs=len(seen),
        groups=len({each.pair.group for each in seen}),
        grid=model.grid,
        matching=_settings(model),
        seed=run.plan.seed,
        against=tuple(dict.fromkeys(plan.against)),
        shares=shares,
        stable_pairs=min(len(seen), run.plan.stable_pairs) if "stability" in run.plan.measures else 0,
        removal=removal,
        accounts=run.accounts(seen, explained, times),
        keypoints=keypoints,
        skipped=tuple(run.skipped),
    )


Explained = Mapping[str, Sequence[MethodResult]]


@dataclass
class _Run:
    model: StructuralModel
    methods: list[Method]
    plan: Plan
    progress: Progress
    skipped: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def see(self, model: StructuralModel, pairs: Sequence[Pair], stage: str) -> list[Seen]:
        seen, self.failed = see(model, pairs, self.plan.batch_size, partial(self.progress, stage))
        return seen

    @property
    def whole(self) -> StructuralModel:
        return in_input_size(self.model)

    def explain(self, seen: Sequence[Seen]) -> tuple[dict[str, list[MethodResult]], dict[str, list[float]]]:
        explained: dict[str, list[MethodResult]] = {method.name: [] for method in self.methods}
        times: dict[str, list[float]] = {method.name: [] for method in self.methods}
        model = self.whole
        for at, each in enumerate(seen):
            for method in self.methods:
                start = time.perf_counter()
                found = method.explain(model, each.image_a, each.image_b, each.maps_a, each.maps_b)
                times[method.name].append(time.perf_counter() - start)
                explained[method.name].append(found)
            self.progress("explaining", at + 1, len(seen))
        return explained, times

    def removal(self, seen: Sequence[Seen], explained: Explained) -> tuple[list[Removal], list[float]]:
        heats = {
            method.name: [each.heat_a for each in explained[method.name] if each.heat_a is not None]
            for method in self.methods
            if method.heats
        }
        rows: list[Removal] = []
        shares: list[float] = []
        for fill in self.plan.fills:
            curves = removal_curves(
                self.whole,
                seen,
                heats,
                fill=fill,
                steps=self.plan.steps,
                batch_size=self.plan.batch_size,
                seed=self.plan.seed,
                progress=partial(self.progress, f"removing, {fill}"),
            )
            shares = curves["random"].shares.tolist()
            groups = [each.pair.group for each in seen]
            others = {name: curves[name] for name in self.plan.against}
            rows.extend(
                removal_row(name, each, others, fill, k, groups, self.plan.seed)
                for k in range(len(MEASURED))
                for name, each in curves.items()
            )
        return rows, shares

    def accounts(
        self, seen: Sequence[Seen], explained: Explained, times: Mapping[str, Sequence[float]]
    ) -> list[Account]:
        similarities = [float(self.whole.explain(each.maps_a, each.maps_b).similarity) for each in seen]
        stable: dict[str, dict[str, list[float]]] = {}
        if "stability" in self.plan.measures:
            some = seen[: self.plan.stable_pairs]
            report = partial(self.progress, "perturbing")
            stable = stability(self.whole, some, self.methods, self.plan.seed, report)
        return [
            account_row(
                method.name, explained[method.name], similarities, stable.get(method.name, {}), times[method.name]
            )
            for method in self.methods
        ]

    def keypoints(self, pairs: Sequence[Pair]) -> list[Keypoints]:
        marked = [pair for pair in pairs if pair.points is not None and len(pair.points)]
        corresponding = [method for method in self.methods if method.corresponds]
        if not marked or not corresponding:
            return []
        rows: list[Keypoints] = []
        # All of them are made first: what a model cannot give is refused before the slow work.
        for model in self._models():
            grid = model.grid
            seen = self.see(model, marked, f"embedding, {grid[0]}x{grid[1]} cells")
            rows.extend(self._keypoints_at(in_input_size(model), seen, corresponding))
        return rows

    def _models(self) -> list[StructuralModel]:
        if self.plan.grids is not None:
            return [at_grid(self.model, grid) for grid in dict.fromkeys(self.plan.grids)]
        found = [self.model]
        for grid in FINER:
            if grid != self.model.grid:
                try:
                    found.append(at_grid(self.model, grid))
                except UsageError as error:
                    self.skipped.append((f"grid {grid[0]}x{grid[1]}", str(error)))
        return found

    def _keypoints_at(self, model: StructuralModel, seen: Sequence[Seen], methods: Sequence[Method]) -> list[Keypoints]:
        found: dict[str, list[Correct]] = {method.name: [] for method in methods}
        for at, each in enumerate(seen):
            for method in methods:
                explained = method.explain(model, each.image_a, each.image_b, each.maps_a, each.maps_b)
                assert explained.correspondence is not None
                assert each.points is not None
                size, grid = each.image_a.size, model.grid
                found[method.name].append(correct_keypoints(explained.correspondence, each.points, size, grid, grid))
            self.progress(f"corresponding, {model.grid[0]}x{model.grid[1]} cells", at + 1, len(seen))
        return [keypoints_row(name, model.grid, each, seen, self.plan.seed) for name, each in found.items() if each]


def _settings(model: StructuralModel) -> dict[str, object]:
    settings = asdict(model.matcher.replace(marginals="uniform"))
    marginals = model.matcher.marginals
    return {**settings, "marginals": marginals if isinstance(marginals, str) else "custom"}
