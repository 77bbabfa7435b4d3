"""The simulated robot: MuJoCo behind the topics of the real one, and the faults that it can be told to have."""
