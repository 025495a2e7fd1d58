"""The routes of the console's API: what operators see and do, for the page and for scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ground.console.accounts import Role
from ground.console.context import Context
from ground.console.endpoints import Call, Handler, Parameter, Route
from ground.console.file_routes import file_routes
from ground.console.handling import at_once, described, in_person, in_thread, tai_ns
from ground.console.model import ms
from ground.console.pass_routes import pass_routes
from ground.console.plot_routes import FROM, TO, plot_routes
from ground.console.sample_routes import sample_routes
from ground.console.token_routes import token_routes
from protocols.timecodes.tai import utc_iso_from_tai_ns

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=2_000)]
#: Packets of a page.
MOST_PACKETS: Final = 500


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Name and password."""

    name: Annotated[str, Meta(max_length=64)]
    password: Annotated[str, Meta(max_length=1_000)]


class SetUp(msgspec.Struct, forbid_unknown_fields=True):
    """The first administrator, with the token of the set-up link."""

    token: Annotated[str, Meta(max_length=200)]
    name: Annotated[str, Meta(max_length=64)]
    password: Annotated[str, Meta(max_length=1_000)]


class Person(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody who may sign in."""

    name: Annotated[str, Meta(max_length=64)]
    role: Annotated[str, Meta(pattern="^(viewer|operator|approver|admin)$")]
    password: Annotated[str, Meta(max_length=1_000)]


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    role: Annotated[str, Meta(pattern="^(viewer|operator|approver|admin)$")]


class NewPassword(msgspec.Struct, forbid_unknown_fields=True):
    password: Annotated[str, Meta(max_length=1_000)]


class Shelf(msgspec.Struct, forbid_unknown_fields=True):
    """How long an alarm is put aside, and why."""

    minutes: Annotated[int, Meta(ge=1, le=1_440)]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class NewCommand(msgspec.Struct, forbid_unknown_fields=True):
    """A command for the stack.  arguments: as people write them, by name.  earliest, latest: UTC,
    or +90s, +5min, +2h."""

    command: Name
    arguments: dict[str, Text] = {}
    earliest: Annotated[str, Meta(max_length=40)] = ""
    latest: Annotated[str, Meta(max_length=40)] = ""
    expedited: bool = False
    comment: Text = ""


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    reason: Text = ""


class Directive(msgspec.Struct, forbid_unknown_fields=True):
    """Of COP-1."""

    directive: Annotated[str, Meta(pattern="^(initiate|unlock|set-vr|terminate)$")]
    value: Annotated[int, Meta(ge=0, le=255)] | None = None


class NewRun(msgspec.Struct, forbid_unknown_fields=True):
    """A procedure to be started; step: pause after its first step."""

    procedure: Name
    arguments: dict[str, Any] = {}
    step: bool = False


class RunChange(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator does to a run."""

    action: Annotated[str, Meta(pattern="^(pause|resume|step|abort|answer)$")]
    choice: Text = ""
    reason: Text = ""


class Layout(msgspec.Struct, forbid_unknown_fields=True):
    """What a page shows; its own business."""

    body: Annotated[str, Meta(max_length=20_000)]


_NUMBER: Final = Parameter("number", int, "Number", minimum=1, maximum=2**53)
_NAME: Final = Parameter("name", str, "Name")
_LAST: Final = Parameter("last", int, "So many of the newest", 50, 1, 1_000)
_STEPS: Final = {
    "arm": Role.OPERATOR,
    "disarm": Role.OPERATOR,
    "send": Role.OPERATOR,
    "remove": Role.OPERATOR,
    "repeat": Role.OPERATOR,
    "close": Role.OPERATOR,
    "approve": Role.APPROVER,
    "reject": Role.APPROVER,
}


def routes(context: Context) -> list[Route]:
    """All of them."""
    return [
        *_session_routes(context),
        *_people_routes(context),
        *_present_routes(context),
        *_archive_routes(context),
        *plot_routes(context),
        *_command_routes(context),
        *_run_routes(context),
        *pass_routes(context),
        *file_routes(context),
        *sample_routes(context),
        *token_routes(context),
    ]


def _session_routes(context: Context) -> list[Route]:
    accounts = context.accounts

    def set_up(call: Call) -> dict[str, Any]:
        body: SetUp = call.body
        accounts.set_up(body.token, body.name, body.password, context.wall_s())
        context.set_up()
        return {"name": body.name}

    def session(call: Call) -> dict[str, Any]:
        assert call.session is not None
        one = call.session
        return {
            "name": one.name,
            "role": one.role.name.lower(),
            "csrf": one.csrf,
            "mission": context.mission,
            "speed": context.speed,
            "now": ms(context.clock.now_ns()),
        }

    return [
        Route(
            "POST",
            "/setup",
            in_thread(set_up),
            "First administrator",
            None,
            SetUp,
            errors=(401, 409),
            name="set_up",
        ),
        Route("GET", "/session", at_once(session), "Who is signed in, and the CSRF token"),
    ]


def _people_routes(context: Context) -> list[Route]:
    accounts = context.accounts

    def people(call: Call) -> Any:
        return [{"name": n, "role": r.name.lower()} for n, r in accounts.people().items()]

    def add(call: Call) -> Any:
        body: Person = call.body
        accounts.add(body.name, Role[body.role.upper()], body.password)
        return {"name": body.name}

    def role(call: Call) -> Any:
        accounts.set_role(call.path["name"], Role[call.body.role.upper()])
        return {}

    def password(call: Call) -> Any:
        accounts.set_password(call.path["name"], call.body.password)
        return {}

    def own_password(call: Call) -> Any:
        in_person(call, "a password is changed")
        accounts.set_password(call.actor, call.body.password)
        return {}

    def remove(call: Call) -> Any:
        accounts.remove(call.path["name"])
        return {}

    def audit(call: Call) -> Any:
        found = accounts.audited(call.query["last"], call.query["before"])
        return [{name: getattr(one, name) for name in one.__slots__} for one in found]

    before = Parameter("before", int, "Older than this id; 0: newest", 0, 0, 2**53)
    return [
        Route("GET", "/people", in_thread(people), "Who may sign in", Role.ADMIN),
        Route("POST", "/people", in_thread(add), "Somebody more", Role.ADMIN, Person),
        Route("PUT", "/people/{name}/role", in_thread(role), "Another role", Role.ADMIN, NewRole,
              (_NAME,)),
        Route("PUT", "/people/{name}/password", in_thread(password), "Another password",
              Role.ADMIN, NewPassword, (_NAME,)),
        Route("DELETE", "/people/{name}", in_thread(remove), "Somebody less", Role.ADMIN, None,
              (_NAME,)),
        Route("PUT", "/session/password", in_thread(own_password), "One's own password",
              Role.VIEWER, NewPassword),
        Route("GET", "/audit", in_thread(audit), "Who did what, newest first", Role.ADMIN, None,
              (_LAST, before)),
    ]  # fmt: skip


def _present_routes(context: Context) -> list[Route]:
    model = context.model

    def locked(work: Callable[[Call], Any]) -> Handler:
        def inside(call: Call) -> Any:
            with context.lock:
                return work(call)

        return at_once(inside)

    def now(call: Call) -> Any:
        now_ns = context.clock.now_ns()
        return {
            "now_utc": utc_iso_from_tai_ns(now_ns),
            "now_ms": ms(now_ns),
            "speed": context.speed,
            "link": model.last("link"),
            "time": model.last("time"),
            "services": model.services,
        }

    def alarm(work: Callable[[Call, int], Any]) -> Handler:
        def inside(call: Call) -> Any:
            with context.lock:
                work(call, context.clock.now_ns())
                model.alarms_changed()
                shown = [one for one in model.alarms_shown if one["name"] == call.path["name"]]
            # Whoever is told that an alarm is taken care of will not look again.
            context.keep()
            return shown

        return in_thread(inside)

    def shelve(call: Call, now_ns: int) -> Any:
        until_ns = now_ns + call.body.minutes * 60 * 10**9
        model.alarms.shelve(call.path["name"], call.actor, until_ns, call.body.reason, now_ns)

    acknowledge = alarm(lambda c, t: model.alarms.acknowledge(c.path["name"], c.actor, t))
    unshelve = alarm(lambda c, t: model.alarms.unshelve(c.path["name"], t))

    def layouts(call: Call) -> Any:
        found = context.accounts.layouts()
        return {name: {"owner": owner, "body": body} for name, (owner, body) in found.items()}

    def save_layout(call: Call) -> Any:
        context.accounts.save_layout(call.path["name"], call.actor, call.body.body)
        return {}

    def relay(operation: str) -> Handler:
        return in_thread(lambda call: described(context.relay(call.actor, operation, {})))

    unavailable = (503,)
    return [
        Route("GET", "/now", locked(now), "Clock, link, on-board clock, services"),
        Route("GET", "/telemetry", locked(lambda c: model.parameters),
              "Newest live value of every parameter, by packet"),
        Route("GET", "/subsystems", at_once(lambda c: context.subsystems),
              "Packets of each subsystem"),
        Route("GET", "/events", locked(lambda c: model.events), "Newest events, newest last"),
        Route("GET", "/alarms", locked(lambda c: model.alarms_shown), "Alarms, worst first"),
        Route("POST", "/alarms/{name}/acknowledge", acknowledge, "Seen", Role.OPERATOR, None,
              (_NAME,), errors=(409, 503)),
        Route("POST", "/alarms/{name}/shelve", alarm(shelve), "Put aside for a while",
              Role.OPERATOR, Shelf, (_NAME,), errors=(409, 503)),
        Route("POST", "/alarms/{name}/unshelve", unshelve, "Back", Role.OPERATOR, None, (_NAME,),
              errors=(409, 503)),
        Route("GET", "/passes", locked(lambda c: model.last("passes")), "Published passes"),
        Route("GET", "/link", locked(lambda c: model.last("link")), "Counts of the downlink"),
        Route("GET", "/antennas", locked(lambda c: model.last("antennas")), "Of several: each"),
        Route("GET", "/radios", locked(lambda c: model.radios),
              "Receivers: locks, Eb/N0, spectrum, constellation"),
        Route("GET", "/relay", relay("status"), "The site's bundle node", errors=unavailable),
        Route("GET", "/relay/held", relay("held"), "Bundles held", errors=unavailable),
        Route("GET", "/relay/contacts", relay("contacts"), "Contact plan", errors=unavailable),
        Route("GET", "/layouts", in_thread(layouts), "Saved layouts"),
        Route("PUT", "/layouts/{name}", in_thread(save_layout), "Save a layout", Role.VIEWER,
              Layout, (_NAME,), name="save_layout"),
    ]  # fmt: skip


def _archive_routes(context: Context) -> list[Route]:
    def parameters(call: Call) -> Any:
        with context.archive() as archive:
            return [
                {
                    "name": one.name,
                    "unit": one.unit,
                    "description": one.description,
                    "count": one.count,
                    "first_ms": ms(one.first_scet_ns),
                    "last_ms": ms(one.last_scet_ns),
                }
                for one in archive.parameters()
            ]

    def packets(call: Call) -> Any:
        query = call.query
        with context.archive() as archive:
            found = archive.packets(
                apid=query["apid"] if query["apid"] >= 0 else None,
                start_ns=tai_ns(query["from"]),
                stop_ns=tai_ns(query["to"]),
            )
            newest = deque(found, maxlen=query["last"])
        return [
            {
                "number": one.number,
                "vcid": one.vcid,
                "apid": one.apid,
                "sequence_count": one.sequence_count,
                "scet": ms(one.scet_ns or 0),
                "ert": ms(one.ert_ns),
                "playback": one.playback,
                "octets": one.octets.hex(),
                "fields": context.packet(one.octets),
            }
            for one in newest
        ]

    def events(call: Call) -> Any:
        query = call.query
        with context.archive() as archive:
            found = archive.events(start_ns=tai_ns(query["from"]), stop_ns=tai_ns(query["to"]))
            return [
                {
                    "name": one.name,
                    "severity": one.severity,
                    "text": one.text,
                    "scet": ms(one.scet_ns),
                    "ert": ms(one.ert_ns),
                    "playback": one.playback,
                }
                for one, _ in zip(found, range(5_000), strict=False)
            ]

    apid = Parameter("apid", int, "Application process; -1: all", -1, -1, 2_047)
    last = Parameter("last", int, "So many of the newest", 100, 1, MOST_PACKETS)
    return [
        Route("GET", "/parameters", in_thread(parameters), "What the archive holds"),
        Route("GET", "/packets", in_thread(packets), "Archived packets, octets and fields",
              parameters=(FROM, TO, apid, last)),
        Route("GET", "/archived-events", in_thread(events), "Events by time",
              parameters=(FROM, TO)),
    ]  # fmt: skip


def _command_routes(context: Context) -> list[Route]:
    def ask(operation: str, **arguments: Any) -> Callable[[Call], Any]:
        return lambda call: described(context.command(call.actor, operation, dict(arguments)))

    def numbered(operation: str) -> Callable[[Call], Any]:
        def work(call: Call) -> Any:
            arguments = {"number": call.path["number"]}
            if isinstance(call.body, Reason):
                arguments["reason"] = call.body.reason
            return described(context.command(call.actor, operation, arguments))

        return work

    def newest(call: Call) -> Any:
        return described(context.command(call.actor, "list", {"last": call.query["last"]}))

    def add(call: Call) -> Any:
        body: NewCommand = call.body
        arguments = {
            "command": body.command,
            "texts": [f"{name}={value}" for name, value in body.arguments.items()],
            "earliest": body.earliest,
            "latest": body.latest,
            "expedited": body.expedited,
            "comment": body.comment,
        }
        return described(context.command(call.actor, "add", arguments))

    def direct(call: Call) -> Any:
        body: Directive = call.body
        arguments = {"directive": body.directive, "value": body.value}
        return {"text": context.command(call.actor, "link", arguments)}

    steps = [
        Route(
            "POST",
            f"/requests/{{number}}/{name}",
            in_thread(numbered(name)),
            f"{name.capitalize()} a request",
            role,
            Reason if name in ("close", "reject") else None,
            (_NUMBER,),
            errors=(409, 503),
        )
        for name, role in _STEPS.items()
    ]
    both = (409, 503)
    return [
        Route("GET", "/commands", at_once(lambda c: context.commands), "The command dictionary"),
        Route("GET", "/requests", in_thread(newest), "Requests, oldest first", parameters=(_LAST,),
              errors=(503,)),
        Route("GET", "/requests/{number}", in_thread(numbered("show")), "All of one",
              parameters=(_NUMBER,), errors=both),
        Route("POST", "/requests", in_thread(add), "Put a command on the stack", Role.OPERATOR,
              NewCommand, errors=both),
        *steps,
        Route("GET", "/cop1", in_thread(ask("status")), "Uplink window, light time, COP-1",
              errors=(503,)),
        Route("POST", "/cop1", in_thread(direct), "A directive of COP-1", Role.OPERATOR, Directive,
              errors=both, name="direct_cop1"),
        Route("GET", "/keys", in_thread(ask("keys")), "Keys and associations, by number",
              errors=(503,)),
    ]  # fmt: skip


def _run_routes(context: Context) -> list[Route]:
    def call(operation: str, make: Callable[[Call], dict[str, Any]]) -> Handler:
        def work(one: Call) -> Any:
            return described(context.command(one.actor, operation, make(one)))

        return in_thread(work)

    def change(one: Call) -> Any:
        body: RunChange = one.body
        arguments: dict[str, Any] = {"run": one.path["number"]}
        if body.action == "answer":
            arguments["choice"] = body.choice
        elif body.action == "abort":
            arguments["reason"] = body.reason
        return described(context.command(one.actor, f"{body.action}_run", arguments))

    def start(one: Call) -> dict[str, Any]:
        body: NewRun = one.body
        return {"procedure": body.procedure, "arguments": body.arguments, "step": body.step}

    both = (409, 503)
    return [
        Route("GET", "/procedures", call("procedures", lambda c: {}), "Operators' procedures",
              errors=(503,)),
        Route("GET", "/runs", call("runs", lambda c: {"last": c.query["last"]}), "Runs",
              parameters=(_LAST,), errors=(503,)),
        Route("GET", "/runs/{number}", call("show_run", lambda c: {"run": c.path["number"]}),
              "A run with its records", parameters=(_NUMBER,), errors=both),
        Route("POST", "/runs", call("start_run", start), "Start a procedure", Role.OPERATOR, NewRun,
              errors=both, name="start_run"),
        Route("POST", "/runs/{number}", in_thread(change), "Pause, resume, step, abort, answer",
              Role.OPERATOR, RunChange, (_NUMBER,), errors=both),
    ]  # fmt: skip


__all__ = ["SignIn", "routes"]
