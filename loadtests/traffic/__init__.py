"""Who asks which bot when: pure functions of a seed, without a clock or a socket."""
