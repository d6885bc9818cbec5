"""What several benchmarks need: photographs, oracles, the recorded run of the released code, results."""
