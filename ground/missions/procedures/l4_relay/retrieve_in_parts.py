"""Retrieve stored telemetry part by part; see `procedure`."""

NS = 1_000_000_000

ARGUMENTS = {
    "FROM": {"type": "time", "description": "Earliest packet by on-board time"},
    "HOURS": {
        "type": "number",
        "unit": "h",
        "minimum": 0.1,
        "maximum": 48,
        "default": 6,
        "description": "How much after that",
    },
    "PART": {
        "type": "number",
        "unit": "min",
        "minimum": 5,
        "maximum": 240,
        "default": 60,
        "description": "So much at a time",
    },
}


def procedure(p, FROM, HOURS, PART):
    """Retrieve stored telemetry in parts, so that a lost pass costs one part and not all.

    A part is asked for while the answer to the one before is under way: two are open at a time,
    never more.
    """
    end = FROM + round(HOURS * 3600 * NS)
    part = round(PART * 60 * NS)
    begin, before, lost = FROM, None, []
    while begin < end or before is not None:
        now = None
        if begin < end:
            until = min(end, begin + part)
            yield p.wait_window("open", timeout_s=24 * 3600)
            request = yield p.send("STORE_RETRIEVE", STORE=1, FROM=begin, TO=until)
            now = (request, begin, until)
            begin = until
        if before is not None:
            try:
                yield p.verify(before[0])
            except p.StepFailed as failure:
                lost.append(before)
                yield p.say(f"{before[0]}: {failure}")
        before = now
    if lost:
        p.fail(f"{len(lost)} parts were not retrieved: {', '.join(str(one[0]) for one in lost)}")
    yield p.say("all parts are on their way down")
