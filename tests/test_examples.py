"""Every script of examples/ runs as a reader would run it, and prints what is true."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LONGEST = 40  # lines that are not blank
LONGER = {"own_agent_based_model.py": 120}  # a whole model and its environment


def numbers(text, label):
    """The numbers that follow `label` in its line."""
    line = re.search(re.escape(label) + r"(.*)", text)
    assert line, f"nothing is printed after {label!r}:\n{text}"
    return [float(number.replace(",", "")) for number in re.findall(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?", line[1])]


def best_allocation_is_known(text, folder):
    assert "best allocation: [1.  0.  0.5] worth per round: 0.3046" in text
    assert "rewards of 256 environments: (256,)" in text
    assert numbers(text, "mean reward of 1000 episodes:")[0] < 0.3046


def exported_policy_commands_the_arm(text, folder):
    assert numbers(text, "largest difference in a fresh process:")[0] <= 1e-5
    yaw, shoulder, elbow = numbers(text, "joint targets in rad:")
    assert abs(yaw) <= 1.2 and abs(shoulder + 0.9) <= 0.7 and abs(elbow - 1.4) <= 0.8


def agent_finds_the_optimum(text, folder):
    low, high, worth = numbers(text, "its long-run reward: between")
    assert low < worth == 0.305 < high
    assert "is it the best one? True" in text and "loaded agent agrees: True" in text


def tight_radius_wins(text, folder):
    regrets = {
        label: numbers(text, label)[0] for label in ("DynLin-UCB (tight)", "DynLin-UCB (paper)", "LinUCB ")
    }
    assert 10 * regrets["DynLin-UCB (tight)"] < min(regrets["DynLin-UCB (paper)"], regrets["LinUCB "])
    assert (folder / "regret.png").read_bytes().startswith(b"\x89PNG")


def budget_goes_to_lasting_effects(text, folder):
    best = text[text.index("recommended:") :]
    assert best.startswith("recommended: search 6,000.00, video 3,000.00, radio 0.00 EUR")
    worth = 6_000 * (0.01 + 0.02 / (1 - 0.6)) + 3_000 * 0.03
    _, low, high = numbers(best, "long-run reward ")
    assert low < worth < high
    assert 0.6 <= numbers(text, "at most")[0] < 0.9


def pond_grows_logistically(text, folder):
    stock, harvest = numbers(text, "one pond, one season: (array([")[:1] + numbers(text, "float32),")
    assert stock == pytest.approx(0.45 + 0.3 * 0.45 * (1 - 0.45)) and harvest == pytest.approx(0.05)
    ponds = numbers(text, "harvest of 50 seasons, a tenth each:")
    assert len(ponds) == 5 and ponds == sorted(ponds)


def own_agent_solves_the_probe(text, folder):
    assert "probe solved: True" in text
    assert numbers(text, "worth")[0] <= 0.8125


def policy_nears_the_optimum(text, folder):
    assert numbers(text, "share of the best long-run reward:")[-1] > 0.9


def model_finds_the_optimum(text, folder):
    assert "same: True" in text
    true, identified = numbers(text, "true gain h:"), numbers(text, "identified:")[:3]
    assert identified == pytest.approx(true, abs=0.02)


def epidemics_end_like_the_exact_chain(text, folder):
    assert numbers(text, "standard errors apart:")[0] < 4
    assert (
        numbers(text, "reward when 95% stay at home:")[0] > numbers(text, "reward when 0% stay at home:")[0]
    )


def rlb_buys_more_than_lin(text, folder):
    assert numbers(text, "click model: AUC")[0] > 0.55
    clicks, predicted, spent = numbers(text, "RLB: ")
    assert 95 < spent <= 100 and abs(clicks - predicted) < 5 * predicted**0.5
    assert numbers(text, "interval")[0] > 0, "RLB's gain over Lin is not above 0"
    assert (folder / "policy" / "bid_policy.py").is_file() and (folder / "policy" / "policy.npz").is_file()


def policy_paces_as_well_as_the_best_constant(text, folder):
    random, best, learned = (numbers(text, label)[0] for label in ("random", "best constant", "PPO"))
    assert random < 0.85 * best and learned > 0.93 * best


def shading_pays_in_first_price_only(text, folder):
    second, first = (
        numbers(text, f"{pricing} price: profit at full value") for pricing in ("second", "first")
    )
    assert second[0] > second[-1] > 0
    assert abs(first[0]) < 1 < first[-1]


def learnt_feedback_beats_no_treatment(text, folder):
    untreated, learnt = (
        numbers(text, f"{label:<16} J1 on the agent-based model:")[0]
        for label in ("no treatment", "learnt feedback")
    )
    assert learnt < untreated / 3


def twin_finds_the_patient_and_forecasts(text, folder):
    errors = {
        name: abs(np.log(true / fitted))
        for name, true, fitted in re.findall(r"^(\w+) +true +([\d.]+) +twin +([\d.]+)", text, re.MULTILINE)
        for true, fitted in [(float(true), float(fitted))]
    }
    assert len(errors) >= 2 and max(errors.values()) < 0.5
    forecasts = re.findall(r"\[(\d+), (\d+)\], came to (\d+)", text)
    assert len(forecasts) == 4
    assert sum(int(low) <= int(came) <= int(high) for low, high, came in forecasts) >= 3


def notions_of_robust_value_differ(text, folder):
    certain, likely, wild = (numbers(text, f"budget {budget}: value")[0] for budget in (0.0, 0.2, 0.6))
    assert certain > likely > wild
    assert numbers(text, "IWOCS on the last one: certified")[2:] == [wild_value(text)] * 2 + [0]
    assert "windy walk: certified after 2 iterations" in text and "guarantees -7.95215" in text
    labels = ("rectangular hull (dynamic adversary)", "best deterministic stationary policy")
    assert [numbers(text, label) for label in labels] == [[0], [0]]
    assert numbers(text, "best randomised stationary policy (local)") == [pytest.approx(1 / 1.1)]
    assert numbers(text, "best policy with memory") == [0.95]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in ("iwocs.png", "walk.png"))


def wild_value(text):
    return numbers(text, "the policy guarantees")[0]


def search_finds_worse_than_draws(text, folder):
    assert "After 299 independent uniform draws, with 95 % confidence at most 1 % of the set is worse" in text
    mean, drawn = numbers(text, "299 models at random: mean")
    (worst, mass, length) = numbers(text, "searched worst:")
    assert worst <= drawn < mean
    assert 0.5 <= mass <= 1.5 and 0.7 <= length <= 1.3
    assert numbers(text, "mass 1 and length 1: mean return")[0] > numbers(text, "in 100 fresh episodes:")[0]


def average_hides_the_worst_cell(text, folder):
    lqr, robust = text.split("searched for the worst cell on")
    assert numbers(lqr, "average")[0] > 900 and numbers(lqr, "\nworst ")[0] < 50
    assert numbers(robust, "average")[0] == 1000 and numbers(robust, "\nworst ")[0] == 1000
    assert (folder / "cells.png").read_bytes().startswith(b"\x89PNG")


def floor_friction_of_the_literature_does_nothing_below_two(text, folder):
    assert "nominal: [ 2.     3.665  1.    -9.81 ]" in text
    assert "torso: [2.] kg" in text and "different: True" in text
    assert numbers(text, "rrls: friction has no effect in") == [0.1, 2.0]
    assert numbers(text, "dynrl: friction has no effect in") == []


def clocks_swing_as_gravity_says(text, folder):
    swings = numbers(text, "quarter swings in s:")
    assert swings == pytest.approx([np.pi / 2 / g**0.5 for g in (1.62, 3.71, 9.81)], abs=0.015)


FACTS = {
    "make_env.py": best_allocation_is_known,
    "export_policy.py": exported_policy_commands_the_arm,
    "train_dynlin_ucb.py": agent_finds_the_optimum,
    "compare_agents.py": tight_radius_wins,
    "budget_allocation.py": budget_goes_to_lasting_effects,
    "own_environment.py": pond_grows_logistically,
    "own_agent.py": own_agent_solves_the_probe,
    "sb3_ppo.py": policy_nears_the_optimum,
    "brax_ppo.py": policy_nears_the_optimum,
    "identify_system.py": model_finds_the_optimum,
    "bid_own_log.py": rlb_buys_more_than_lin,
    "pace_budget_sb3.py": policy_paces_as_well_as_the_best_constant,
    "compete.py": shading_pays_in_first_price_only,
    "own_agent_based_model.py": epidemics_end_like_the_exact_chain,
    "patient_twin.py": twin_finds_the_patient_and_forecasts,
    "steer_agent_based_model.py": learnt_feedback_beats_no_treatment,
    "own_physics_task.py": clocks_swing_as_gravity_says,
    "robust_mdp.py": notions_of_robust_value_differ,
    "robust_pendulum.py": search_finds_worse_than_draws,
    "robust_report.py": average_hides_the_worst_cell,
    "uncertain_hopper.py": floor_friction_of_the_literature_does_nothing_below_two,
}

SLOW = {
    "bid_own_log.py",
    "brax_ppo.py",
    "pace_budget_sb3.py",
    "patient_twin.py",
    "robust_pendulum.py",
    "robust_report.py",
    "steer_agent_based_model.py",
}
"""Scripts that train for longer than the quick tests have time."""


def test_every_example_has_a_fact():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(FACTS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(FACTS)]
)
def test_example(name, tmp_path):
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    assert sum(bool(line.strip()) for line in source.splitlines()) < LONGER.get(name, LONGEST)
    assert ast.get_docstring(ast.parse(source))
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    FACTS[name](done.stdout, tmp_path)
