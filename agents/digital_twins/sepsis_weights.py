"""What `sepsis_search.search(SepsisSearchConfig())` found: weights for `sepsis_policy.policy_action`.

Three generations, 432 patients in all, about 2 CPU minutes. The feedback is made of it (`sepsis_search.relaxed`).
"""

__all__ = ["BEST_CONSTANT"]

BEST_CONSTANT = (
    -0.19574758092825698,
    0.3885849285955805,
    -2.629404313300058,
    -2.76895019799188,
    0.06701224986354679,
    2.6849975929411336,
    -4.294721516864583,
    0.021786696356252765,
    -0.5511692128488849,
    0.04659511036341847,
    0.02284378680975435,
    2.0549935451231756,
)
"""In the order of `Sepsis.drug_names`, antibiotics last."""
