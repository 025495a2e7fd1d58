"""The ground from Python: for notebooks, scripts and the terminal console.

    from ground.client import Ground

    with Ground.of_run("var/run") as ground:          # or Ground(url, token=…)
        voltage = ground.samples("PWR_BUS_VOLTAGE", "3h")
        voltage.utc, voltage.values                   # datetime64[ns], float64

calls.py     every operation of the console's API, made from its routes by `make generate`
ground.py    `Ground`: how one is signed in and asked
samples.py   all samples of a parameter as NumPy arrays
instants.py  times as people write them
live.py      the present, as it changes
errors.py    why not

It knows the API alone: no service is imported, and none is asked but the console.
"""

from ground.client.errors import GroundError, NotAllowed, NotReachable, NotSignedIn, Refused
from ground.client.ground import Ground
from ground.client.live import Present
from ground.client.samples import Samples

__all__ = [
    "Ground",
    "GroundError",
    "NotAllowed",
    "NotReachable",
    "NotSignedIn",
    "Present",
    "Refused",
    "Samples",
]
