"""The atlas: its targets, its qualities, and what it makes of a table of runs with known answers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from sigreg_lab.experiment.estimates import Estimates, tabulate
from sigreg_lab.experiment.study import load_study
from sigreg_lab.pretrain.config import configure
from sigreg_lab.regularizers import REGISTRY, resolve_regularizer
from sigreg_lab.slicing import make_directions, seeded_generator

STUDY = load_study("atlas")

from sigreg_lab.studies.atlas import contenders, estimates, qualities, targets  # noqa: E402  (a package once the study is loaded)


def test_every_regulariser_is_there_and_every_contender_can_be_built():
    assert set(REGISTRY) | {"untrained"} <= set(contenders.CONTENDERS)
    assert len(contenders.CANDIDATES) <= 8
    for name, (spec, changes) in contenders.CONTENDERS.items():
        assert "," not in name  # or --set could not name it
        if name != "untrained":
            resolve_regularizer(spec).build(num_slices=8, directions="iid")
            configure("digits", spec, 0, changes)


def test_a_normal_target_is_epps_pulley():
    z = torch.randn(2, 50, 6, dtype=torch.float64, generator=seeded_generator(0))
    own = targets.Target("normal", num_slices=16)(z, seeded_generator(1))
    same = make_directions("iid", 6, 16, generator=seeded_generator(1), dtype=torch.float64)
    known = REGISTRY["sigreg-ep"](num_slices=16)(z, seeded_generator(0), directions=same)
    assert own.item() == pytest.approx(known.item(), rel=1e-10)


def _sample(law, n, dim, rng):
    if law == "laplace":
        return rng.laplace(0, math.sqrt(0.5), (n, dim))
    x = rng.normal(size=(n, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x * (math.sqrt(dim) if law == "sphere" else math.sqrt(dim + 2) * rng.random((n, 1)) ** (1 / dim))


@pytest.mark.parametrize("law", ["ball", "sphere", "laplace"])
def test_targets_are_the_characteristic_functions_of_their_laws(law):
    rng, dim, n = np.random.default_rng(0), 5, 200_000
    x = _sample(law, n, dim, rng)
    assert np.cov(x.T) == pytest.approx(np.eye(dim), abs=0.02)
    directions = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=seeded_generator(2)))[0]
    t = torch.tensor([0.3, 1.0, 2.0, 3.0], dtype=torch.float64)
    told = targets.characteristic_function(law, t, directions).expand(dim, 4).numpy()
    for direction, row in zip(directions.T.numpy(), told, strict=True):
        cosines = np.cos((x @ direction)[:, None] * t.numpy())
        assert abs(cosines.mean(0) - row).max() < 5 * (cosines.std(0) / math.sqrt(n)).max()


def test_a_target_is_least_on_its_own_law():
    rng = np.random.default_rng(1)
    samples = {law: torch.from_numpy(_sample(law, 4000, 3, rng)).unsqueeze(0) for law in ("sphere", "laplace")}
    for law in samples:
        target = targets.Target(law, num_slices=64)
        values = {other: target(z, seeded_generator(0)).item() for other, z in samples.items()}
        assert min(values, key=values.get) == law


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="law must be ball, sphere, laplace or normal, got 'cube'"):
        targets.Target("cube")


def test_exact_averages_have_less_noise_than_slices_and_a_broken_one_says_why():
    sliced, exact = (qualities.qualities(name, 8, np.random.SeedSequence(0)) for name in ("sigreg-ep", "bhep"))
    assert sliced["power_unequal"] > 0.9
    assert exact.keys() == sliced.keys()
    assert "needs at least 2" in qualities.qualities("w-mse", 8, np.random.SeedSequence(0))["broke"]


def test_noise_and_square_of_gradients_are_without_bias():
    rng = seeded_generator(3)
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = torch.tensor(
        [qualities._parts(mean + torch.randn(6, 3, generator=rng, dtype=torch.float64)) for _ in range(4000)]
    )
    errors = found.std(0) / math.sqrt(len(found))
    assert (abs(found.mean(0) - torch.tensor([3.0, 5.25], dtype=torch.float64)) < 4 * errors).all()


# The table


SETTINGS = {
    "lambdas": [0.02, 0.1, 0.4],
    "extra": 0,
    "tuning_seeds": 1,
    "seeds": 6,
    "seeds_images": 6,
    "replicates": 200,
}
IMAGES = 400


def _table(level, data=("digits", "mnist1d"), seed=0, noise=0.004, few=None):
    """Runs whose accuracies are known: ``level`` by contender; the loss falls with lambda, rank tells the best one.

    ``few`` is the accuracy with few labels, the slope of it along log lambda beside it.
    """
    from sigreg_lab.compare.measure import packed

    rng, rows = np.random.default_rng(seed), []
    for name, best in ((d, n) for d in data for n in level.items()):
        contender, top = best
        weights = [None] if contender in ("none", "untrained") else [lam / (1 - lam) for lam in SETTINGS["lambdas"]]
        plan = [("tuning", 1_000_000, w) for w in weights if w is not None]
        plan += [("report", s, weights[len(weights) // 2]) for s in range(SETTINGS["seeds"])]
        for stage, run_seed, weight in plan:
            off = 0.0 if weight is None else 0.05 * abs(math.log(weight / weights[1]))
            right = rng.random(IMAGES) < top - off + noise * rng.normal()
            lam = None if weight is None else weight / (1 + weight)
            row = {"data": name, "contender": contender, "stage": stage, "seed": run_seed, "weight": weight, "lam": lam}
            row |= {f"{split}_{probe}": right.mean() for split in ("test", "validation") for probe in estimates.KEPT}
            row |= {f"right_{probe}": packed(right) for probe in estimates.KEPT}
            if few:
                middle, slope = few[contender]
                with_few = middle + slope * math.log((weight or weights[1]) / weights[1])
                for probe in estimates.FEW:
                    row |= {f"{split}_{probe}": with_few + noise * rng.normal() for split in ("test", "validation")}
            row |= {"images": IMAGES, "embedding_rank": 30 - 20 * off, "lidar": 20 - 20 * off, "alpha_req": 1 + off}
            row |= {
                "final_prediction": 0.1,
                "final_regularizer": 1.0,
                "regularizer_seconds": 1.0,
                "regularizer_mib": 1.0,
            }
            rows.append(row | {"collapsed": False, "broke": ""})
    return pd.DataFrame(rows)


def _estimates(rows):
    return Estimates(tabulate(STUDY.estimate(rows, SETTINGS)))


def _verdict(rows, name):
    (claim,) = (claim for claim in STUDY.claims if claim.id == name)
    return claim.decision(_estimates(rows))


EQUAL = {"sigreg-ep": 0.9, "vicreg": 0.9, "none": 0.6, "untrained": 0.5}


def test_equal_regularisers_are_not_told_apart_and_unequal_ones_are():
    assert _verdict(_table(EQUAL), "some_better").verdict != "holds"
    decision = _verdict(_table(EQUAL | {"vicreg": 0.99}), "some_better")
    assert decision.verdict == "holds"
    assert decision.evidence["largest"].contender == "vicreg"
    found = _estimates(_table(EQUAL | {"vicreg": 0.99}))
    assert found.at("rank", data="digits", contender="vicreg").value == 1
    assert found.at("rank", data="digits", contender="sigreg-ep").value == 2


def test_a_regulariser_that_is_better_with_few_labels_is_said_unless_its_lambda_may_have_been_luck():
    """With all labels none is better. Were another lambda chosen, a slope along it would undo the difference."""
    level = {"sigreg-ep": 0.9, "vicreg": 0.9}
    for slope, verdict in ((0.0, "holds"), (0.2, "cannot be told")):
        few = {"sigreg-ep": (0.6, 0.0), "vicreg": (0.66, slope)}
        rows = _table(level, noise=0.01, few=few)
        assert _verdict(rows, "some_better").verdict != "holds"
        decision = _verdict(rows, "some_better_with_few")
        assert decision.verdict == verdict
        assert decision.evidence["largest"].contender == "vicreg"
        assert decision.evidence["labels"] in ("1", "10")
    worse = {"sigreg-ep": (0.6, 0.0), "vicreg": (0.5, 0.0)}
    assert _verdict(_table(level, few=worse), "some_better_with_few").verdict == "fails"


def test_controls_are_told_from_sigreg_unless_they_are_as_good():
    assert _verdict(_table(EQUAL), "controls_worse").verdict == "holds"
    assert _verdict(_table(EQUAL | {"none": 0.99}), "controls_worse").verdict == "fails"


def test_settings_that_matter_are_found():
    small, large = ({**EQUAL, "eq. 5": 0.9, "16 slices": level} for level in (0.9, 0.6))
    assert _verdict(_table(small, noise=0), "settings_matter_little").verdict != "fails"
    assert _verdict(_table(large), "settings_matter_little").verdict == "fails"


def test_the_accuracy_is_that_of_the_reported_seeds_alone():
    rows = _table(EQUAL)
    changed = rows.copy()
    changed.loc[changed["stage"] == "tuning", "test_backbone_linear_all"] = 0.0
    columns = ["estimate", "low", "high"]
    one, other = (_estimates(table).of("accuracy").table[columns] for table in (rows, changed))
    assert one.equals(other)


def test_lambda_chosen_by_rank_loses_nothing_and_by_the_loss_what_it_must():
    found = _estimates(_table(EQUAL))
    assert found.at("regret", data="digits", score="RankMe").value == pytest.approx(0.0, abs=0.02)
    assert found.at("regret", data="digits", score="loss").value > 0.03  # less lambda, less loss
    assert found.at("regret", data="digits", score=estimates.SCALED).value < 0.03  # some alpha finds the middle
    alone = _estimates(_table(EQUAL, data=["digits"]))
    assert not len(alone.of("regret", score=estimates.SCALED))  # alpha is never chosen on the data it is used on


def test_runs_that_broke_are_counted_and_not_averaged():
    rows = _table(EQUAL)
    at = (rows["contender"] == "vicreg") & (rows["stage"] == "report") & (rows["seed"] < 2) & (rows["data"] == "digits")
    rows.loc[at, "broke"] = "FloatingPointError: the loss is nan"
    rows.loc[at, [column for column in rows if column.startswith(("test_", "validation_", "right_"))]] = np.nan
    found = _estimates(rows)
    assert found.at("broke", data="digits", contender="vicreg").value == pytest.approx(2 / 9)
    whole = _estimates(rows[~at]).at("accuracy", data="digits", contender="vicreg", probe=estimates.CRITERION)
    assert found.at("accuracy", data="digits", contender="vicreg", probe=estimates.CRITERION).value == whole.value


def test_a_quality_that_orders_regularisers_is_found_with_its_sign():
    names = contenders.REGULARIZERS[:12]
    rows = _table({name: 0.5 + 0.03 * place for place, name in enumerate(names)} | {"none": 0.3})
    own = pd.DataFrame(
        {
            "data": "no data",
            "contender": name,
            "stage": "quality",
            "power": place,
            "noise": place,
            "bias": 0.1,
            "pull": -place,
        }
        for place, name in enumerate(names)
    ).assign(data="no data", stage="quality")
    found = _estimates(pd.concat([rows, own]))
    known = {
        quality: found.at("rank correlation", data="digits", quality=quality) for quality in ("power", "noise", "pull")
    }
    assert known["power"].low > 0.7
    assert known["noise"].high < -0.7
    assert known["pull"].low > 0.7
    claim = next(claim for claim in STUDY.claims if claim.id == "qualities_predict")
    assert claim.decision(found).verdict == "holds"
    assert claim.decision(Estimates(found.table.assign(low=-1.0, high=-0.1))).verdict == "fails"


def test_a_narrow_range_of_lambda_and_a_candidate_ahead_are_said():
    found = _estimates(_table(EQUAL | {"hd3 with 4 x the slices": 0.99}))
    claims = {claim.id: claim for claim in STUDY.claims}
    assert claims["lambda_forgiving"].decision(found).verdict in ("fails", "cannot be told")
    wide = found.table.copy()
    wide.loc[wide["quantity"] == "range of lambda", ["low", "estimate", "high"]] = [12.0, 20.0, 30.0]
    assert claims["lambda_forgiving"].decision(Estimates(wide)).verdict == "holds"
    assert claims["candidate_better"].decision(found).verdict == "holds"
    assert claims["candidate_better"].decision(_estimates(_table(EQUAL | {"on both": 0.6}))).verdict == "fails"
    lost = found.table.copy()
    lost.loc[lost["quantity"] == "regret", ["low", "estimate", "high"]] = [0.05, 0.06, 0.07]
    assert claims["chosen_without_labels"].decision(Estimates(lost)).verdict == "fails"


def test_a_finalist_must_be_better_on_fresh_seeds_and_two_sets_of_data():
    one, other = contenders.FINALISTS
    level = {"sigreg-ep": 0.8, one: 0.8, other: 0.8}

    def decided(*better, by=0.15):
        fresh = [f"{data} on fresh seeds" for data in ("digits", "mnist1d")]
        parts = [_table(level | ({other: 0.8 + by} if data in better else {}), data=[data]) for data in fresh]
        return _verdict(pd.concat(parts), "default_better")

    assert decided().verdict == "cannot be told"
    assert decided("digits on fresh seeds").verdict == "cannot be told"
    both = decided("digits on fresh seeds", "mnist1d on fresh seeds")
    assert both.verdict == "holds"
    assert both.evidence["best"] == other
    assert [row.data for row in both.evidence["gains"]] == ["digits", "mnist1d"]
    level = {"sigreg-ep": 0.95, one: 0.7, other: 0.7}
    assert decided().verdict == "fails"
    alone = _verdict(_table({"sigreg-ep": 0.8, one: 0.7}, data=["digits on fresh seeds"]), "default_better")
    assert alone.evidence["best"] == one
    found = _estimates(_table(EQUAL, data=["digits", "digits on fresh seeds"]))
    assert set(found.table["data"]) == {"digits"}, "summaries are of the seeds that chose"


def test_a_score_that_beats_a_random_choice_is_said_to_and_what_always_takes_an_end_is_counted():
    found = _estimates(_table(dict.fromkeys(contenders.REGULARIZERS[:8], 0.9)))
    (claim,) = (claim for claim in STUDY.claims if claim.id == "some_score_helps")
    assert claim.decision(found).verdict == "holds", "RankMe finds the best lambda here"
    gain = found.at("gain over any run", data="digits", score="RankMe").value
    chance, lost = (found.at("regret", data="digits", score=score).value for score in ("any run", "RankMe"))
    assert gain == pytest.approx(chance - lost)
    beside = (rows := _table(EQUAL))[rows["stage"] == "tuning"].groupby(["data", "contender"]).head(1)
    more = pd.concat([rows, beside.assign(weight=7.0, lam=0.875, validation_backbone_linear_all=0.99)])
    regrets = [_estimates(table).of("regret").table[["score", "estimate"]] for table in (rows, more)]
    assert regrets[0].equals(regrets[1]), "a choice among the lambdas that all have"
    ends = {score: found.at("at an end of the grid", data="digits", score=score).value for score in ("loss", "RankMe")}
    assert ends == {"loss": 1.0, "RankMe": 0.0}
    worse = found.table.copy()
    worse.loc[worse["quantity"] == "gain over any run", ["low", "estimate", "high"]] = [-0.03, -0.02, -0.01]
    assert claim.decision(Estimates(worse)).verdict == "fails"
