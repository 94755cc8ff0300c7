"""Nothing lost, by trial: the service under faults drawn from a seed, its history, and the judgement of it."""
