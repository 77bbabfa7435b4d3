"""What `sepsis_judgement.search` found: weights for `sepsis_policy.policy_action`.

By `search(SepsisPolicyConfig())`, 14 CPU minutes in all.
"""

__all__ = ["BEST_CONSTANT", "FEEDBACK"]

BEST_CONSTANT = (
    -1.8900,
    0.5211,
    0.1608,
    1.2848,
    2.0982,
    0.9712,
    -3.0473,
    2.8325,
    2.4350,
    0.1210,
    0.9743,
    3.4763,
)
"""Twelve generations of constants."""

FEEDBACK = (
    -1.5097,
    1.1293,
    0.7712,
    0.4768,
    1.6062,
    0.8936,
    -2.8956,
    2.2607,
    2.6868,
    1.1156,
    -0.1540,
    3.2818,
    1.4539,
    0.0000,
    0.0989,
    -0.5888,
    -0.5479,
    -0.1237,
    0.6313,
    0.0000,
    -0.0954,
    0.0000,
    0.0000,
    0.0000,
    2.6263,
    0.0000,
    0.0000,
    0.0000,
    0.0000,
    -0.1531,
    0.2728,
)
"""Six generations of constants, then six of what a gate adds."""
