"""Maps that are decided with one encoder and coded with another."""

from __future__ import annotations

from dmic_gym.agents.planning import Plan, Planner
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.evaluator import Evaluator, Reference


class RecodedAgent:
    """Let a planner decide with `X265Codec` at its default preset; code its map as it is.

    The planner never sees what the encoder at hand makes of its map, so a saving that remains is
    in the allocation and not in the choice of one encoder's reconstructions.

    Args:
        planner: decides.
    """

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self._deciding: Evaluator | None = None

    def plan(self, evaluator: Evaluator, reference: Reference, base_qp: int) -> Plan:
        """Decide with one encoder, then encode once with the other; see `Planner.plan`."""
        if self._deciding is None:
            self._deciding = Evaluator(X265Codec(evaluator.codec.ctu_size), evaluator.segmenter)
        plan = self.planner.plan(self._deciding, reference, base_qp)
        result = evaluator.score(reference, plan.result.qp_map)
        return Plan(result, plan.encodes + 1, plan.seconds_saved)
