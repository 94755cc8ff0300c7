"""What a part of a job asks of the GPU."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """What a node of a workflow costs.

    Attributes:
        seconds: of one step, or of the node if it has none.
        steps: sampling steps, each reported as progress where the server does so; 0 for nodes without.
        memory: bytes of activations.
        model: the checkpoint that must be loaded.
    """

    seconds: float = 0.0
    steps: int = 0
    memory: int = 0
    model: str | None = None
