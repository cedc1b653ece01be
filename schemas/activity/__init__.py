"""Activity of units and regions: rates, by state too, histograms, responses."""

# The tables stand in the order of their foreign keys, parents first.
# isort: off
from schemas.activity.base import schema
from schemas.activity.rates import Window, UnitRate, RegionRate, summarise_region_rates
from schemas.activity.states import State, StateRate
from schemas.activity.psth import TrialSplit, PsthDefinition, Psth
from schemas.activity.responses import ResponseDefinition, UnitResponse
from schemas.activity.modulation import TaskFactor, ModulationDefinition, Modulation
from schemas.activity.latency import LatencyDefinition, Latency
from schemas.activity.timescale import TimescaleDefinition, Timescale
from schemas.activity.passive_responses import PassiveResponseDefinition, PassiveResponse
from schemas.activity.inclusion import InclusionRule
# isort: on

__all__ = [
    "InclusionRule",
    "Latency",
    "LatencyDefinition",
    "Modulation",
    "ModulationDefinition",
    "PassiveResponse",
    "PassiveResponseDefinition",
    "Psth",
    "PsthDefinition",
    "RegionRate",
    "ResponseDefinition",
    "State",
    "StateRate",
    "TaskFactor",
    "Timescale",
    "TimescaleDefinition",
    "TrialSplit",
    "UnitRate",
    "UnitResponse",
    "Window",
    "schema",
    "summarise_region_rates",
]
