"""Agent-based models of patients as environments."""
