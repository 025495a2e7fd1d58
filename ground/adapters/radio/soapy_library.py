"""SoapySDR's C interface (Device.h of 0.8) by ctypes: what the adapter needs of it.

Debian's Python module is built for the system's Python alone; the C interface serves any.
"""

from __future__ import annotations

import ctypes as ct
import ctypes.util
import functools
from typing import Any, Final

from protocols.errors import LocalError

#: Constants.h, Errors.h.
TX, RX = 0, 1
HAS_TIME: Final = 1 << 2
TIMEOUT, OVERFLOW, UNDERFLOW = -1, -4, -7

_DEVICE: Final = ct.c_void_p
_STREAM: Final = ct.c_void_p
#: Names after "SoapySDRDevice_": result, arguments.
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "makeStrArgs": (_DEVICE, (ct.c_char_p,)),
    "unmake": (ct.c_int, (_DEVICE,)),
    "lastStatus": (ct.c_int, ()),
    "lastError": (ct.c_char_p, ()),
    "setSampleRate": (ct.c_int, (_DEVICE, ct.c_int, ct.c_size_t, ct.c_double)),
    "getSampleRate": (ct.c_double, (_DEVICE, ct.c_int, ct.c_size_t)),
    "setFrequency": (ct.c_int, (_DEVICE, ct.c_int, ct.c_size_t, ct.c_double, ct.c_void_p)),
    "getFrequency": (ct.c_double, (_DEVICE, ct.c_int, ct.c_size_t)),
    "setGainMode": (ct.c_int, (_DEVICE, ct.c_int, ct.c_size_t, ct.c_bool)),
    "setGain": (ct.c_int, (_DEVICE, ct.c_int, ct.c_size_t, ct.c_double)),
    "setAntenna": (ct.c_int, (_DEVICE, ct.c_int, ct.c_size_t, ct.c_char_p)),
    "setBandwidth": (ct.c_int, (_DEVICE, ct.c_int, ct.c_size_t, ct.c_double)),
    "setupStream": (
        _STREAM,
        (_DEVICE, ct.c_int, ct.c_char_p, ct.POINTER(ct.c_size_t), ct.c_size_t, ct.c_void_p),
    ),
    "closeStream": (ct.c_int, (_DEVICE, _STREAM)),
    "getStreamMTU": (ct.c_size_t, (_DEVICE, _STREAM)),
    "activateStream": (ct.c_int, (_DEVICE, _STREAM, ct.c_int, ct.c_longlong, ct.c_size_t)),
    "deactivateStream": (ct.c_int, (_DEVICE, _STREAM, ct.c_int, ct.c_longlong)),
    "readStream": (
        ct.c_int,
        (
            *(_DEVICE, _STREAM, ct.POINTER(ct.c_void_p), ct.c_size_t, ct.POINTER(ct.c_int)),
            *(ct.POINTER(ct.c_longlong), ct.c_long),
        ),
    ),
    "writeStream": (
        ct.c_int,
        (
            *(_DEVICE, _STREAM, ct.POINTER(ct.c_void_p), ct.c_size_t, ct.POINTER(ct.c_int)),
            *(ct.c_longlong, ct.c_long),
        ),
    ),
}


@functools.cache
def library() -> ct.CDLL:
    """LocalError: SoapySDR is not installed."""
    name = ctypes.util.find_library("SoapySDR")
    if name is None:
        raise LocalError(
            "SoapySDR is not installed (Debian: libsoapysdr0.8, soapysdr-module-… of your device)"
        )
    loaded = ct.CDLL(name)
    for function, (result, arguments) in _FUNCTIONS.items():
        bound = getattr(loaded, f"SoapySDRDevice_{function}")
        bound.restype, bound.argtypes = result, arguments
    loaded.SoapySDR_errToStr.restype = ct.c_char_p
    loaded.SoapySDR_errToStr.argtypes = (ct.c_int,)
    return loaded


def call(function: str, *arguments: Any) -> Any:
    """One function of Device.h.  OSError: it says that it has failed, and why.

    The stream's own functions answer with their status, and are called by `status`.
    """
    found = getattr(library(), f"SoapySDRDevice_{function}")(*arguments)
    # It clears the status itself at each call, by thread.
    if library().SoapySDRDevice_lastStatus():
        raise OSError(f"SoapySDR {function}: {library().SoapySDRDevice_lastError().decode()}")
    return found


def status(function: str, *arguments: Any) -> int:
    """A count of samples, or one of the errors above.  OSError: any other."""
    found = getattr(library(), f"SoapySDRDevice_{function}")(*arguments)
    if found < 0 and found not in (TIMEOUT, OVERFLOW, UNDERFLOW):
        raise OSError(f"SoapySDR {function}: {library().SoapySDR_errToStr(found).decode()}")
    return found


__all__ = ["HAS_TIME", "OVERFLOW", "RX", "TIMEOUT", "TX", "UNDERFLOW", "call", "library", "status"]
