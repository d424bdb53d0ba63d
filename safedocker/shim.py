"""The walk: what happens to a command between the shell and the real binary. Start reading here.

Hot until a form has matched: the parser, the table of forms and exec are all that is imported.
"""

from __future__ import annotations

import os
import sys

from safedocker.command.parse import Clients, Command, parse
from safedocker.command.record import TYPE_CHECKING, NamedTuple
from safedocker.edge import process
from safedocker.errors import (
    Interrupted,
    NoAddress,
    NoEngine,
    Refused,
    SafedockerError,
    WouldFail,
)
from safedocker.loss import forms
from safedocker.quick import makes_nothing, note_making

if TYPE_CHECKING:
    from typing import NoReturn

    from safedocker.backup.store import Backup, FolderStore
    from safedocker.backup.ways import Wish
    from safedocker.edge.address import Address
    from safedocker.edge.batch import Parent, Turn
    from safedocker.edge.clients import RealClient
    from safedocker.edge.engine import Engine
    from safedocker.edge.terminal import Terminal
    from safedocker.loss.plan import Plan, Protect
    from safedocker.policy.decide import Decision
    from safedocker.policy.layers import Policy
    from safedocker.policy.options import Answer, Caller
    from safedocker.telling import Written

ROUNDS = 3  # how often a plan may grow between the question and exec


class Call(NamedTuple):
    """One command as it came: the program, the real binary, and the words behind it."""

    program: str  # "docker" or "docker-compose"
    real: str
    words: list[str]


class Typed(NamedTuple):
    """A command under a form, as it may be read before its client was asked."""

    command: Command
    form: forms.Form
    words: tuple[str, ...]  # the whole argv as it came, the program first


class Settled(NamedTuple):
    """The same, as the client that will really run reads it."""

    command: Command
    form: forms.Form
    client: RealClient
    versions: Clients
    words: tuple[str, ...]


class Room(NamedTuple):
    """What the steps after the match work with."""

    settled: Settled
    engine: Engine | None  # None: the form needs none
    store: FolderStore
    terminal: Terminal
    policy: Policy
    who: Caller
    turn: Turn
    parent: Parent | None  # whose other commands an answer may hold for
    written: Written  # what the audit has of it


def main(arguments: list[str]) -> NoReturn:
    """Run one command. `arguments` are what shell/docker passes: `-c`, the package's folder, the
    program, the shim's path, the real binary's recorded path, LC_CTYPE as it was, then the words.
    """
    _, _, program, shim, recorded, locale, *words = arguments
    process.restore_locale(locale)
    try:
        call = Call(program, process.find_real(program, recorded, shim), words)
        readings = parse(program, words)
        if not any(map(forms.match, readings)) or all(map(makes_nothing, readings)):
            before_making(readings[0])
            process.become(call.real, call.words)
        walk(call)
    except KeyboardInterrupt:
        sys.exit(tell(Interrupted("interrupted before anything was removed")))
    except SafedockerError as fault:
        sys.exit(tell(fault))
    except Exception as fault:  # noqa: BLE001 - the one handler: a bug of ours must end closed
        from safedocker import telling

        sys.exit(telling.report(fault, arguments))


def tell(fault: SafedockerError) -> int:
    """Say why the command did not run, and return the exit code."""
    from safedocker import telling

    return telling.tell(fault)


def before_making(command: Command, room: Room | None = None) -> None:
    """Note for the machine's log who makes what, where there is one; and tell a person at a
    terminal what may be good to know of containers that are made."""
    note_making(command)
    if command.path in forms.HINTED and os.isatty(2) and os.isatty(0):
        from safedocker import hinting

        hinting.tell(command, room)


def walk(call: Call) -> NoReturn:
    """Take one dangerous command through steps 2 to 5. Ends in exec, or raises; then every
    container that the backup stopped is running again."""
    import contextlib
    import site

    site.main()  # the shim starts Python without it; the packages stand there
    settled: Settled | None = None
    room: Room | None = None
    taken: tuple[Backup, ...] = ()
    with process.EndingSignals():
        try:
            with contextlib.suppress(WouldFail):
                settled = settle(call)
            if settled is None or refused_by_itself(settled) or _goes_past(settled):
                process.become(call.real, call.words)
            room = _enter_or_pass(settled)
            if room is None:
                process.become(call.real, call.words)
            taken = guard(room)
            _go(taken, room, call)
        except BaseException as fault:
            from safedocker import ending

            ending.end(fault, settled or _as_typed(call), room, taken)
            if room is not None:
                _hang_up(room)
            raise


def _go(taken: tuple[Backup, ...], room: Room, call: Call) -> NoReturn:
    from safedocker import handover
    from safedocker.edge import terminal

    handover.hand_over(taken, room)
    _hang_up(room)
    before_making(room.settled.command, room)
    terminal.give_out_notes()
    process.become(call.real, call.words)


def _hang_up(room: Room) -> None:
    if room.engine is not None:
        room.engine.close()


def _as_typed(call: Call) -> Typed:
    """The command by the first reading that a form matches."""
    for reading in parse(call.program, call.words):
        form = forms.match(reading)
        if form is not None:
            return Typed(reading, form, (call.program, *call.words))
    raise AssertionError("no form matches what came into the walk")


def settle(call: Call) -> Settled | None:
    """Step 1 again, now with the versions of the clients that will run. None: no form after all.

    Raise WouldFail where the real command is no command.
    """
    from safedocker.edge.clients import RealClient, files_of

    loose = _as_typed(call).command
    streams = process.Streams(files_of(loose))
    client = RealClient(call.real, call.program, streams)
    versions = client.versions(loose)
    for command in parse(call.program, call.words, versions):
        form = forms.match(command)
        if form is not None:
            return Settled(command, form, client, versions, (call.program, *call.words))
    return None


def refused_by_itself(settled: Settled) -> bool:
    """Does stdin answer No to what the real client will ask? Then nothing goes."""
    asks = settled.form.asks
    if not asks or settled.command.on(asks):
        return False
    from safedocker.edge import stdin

    yes = stdin.yes(settled.command.path, settled.versions.compose)
    return stdin.says(yes) is stdin.Says.NO


def _goes_past(settled: Settled) -> bool:
    """Does it run without a look at what it takes: what can be had again, where no policy names
    it; and what the guard was told to let past?"""
    from safedocker import inforce

    if settled.form.reach.replaceable and not process.has_policy():
        return True
    from safedocker.edge.terminal import Terminal

    terminal = Terminal()
    policy, who = inforce.in_force(can_ask=terminal.can_ask)
    if settled.form.reach.replaceable and not inforce.names_what_can_be_had_again(policy):
        return True
    if not inforce.is_off():
        return False
    from safedocker import telling

    if why := inforce.why_not_off(policy, who):
        if inforce.reads_text(who, policy):
            terminal.note(f"SAFEDOCKER=off counts for nothing here: {why}")
        return False
    telling.write_off(settled, who, policy)
    terminal.note("SAFEDOCKER=off: nobody looks at what goes")
    return True


def _enter_or_pass(settled: Settled) -> Room | None:
    """Open what the steps need. None: the real client will find no engine either, or the policy
    lets the command go, whatever it would take."""
    try:
        return enter(settled)
    except NoAddress:
        return None
    except NoEngine as fault:
        if not _passes_unseen(settled):
            raise
        from safedocker import ending

        ending.write_unseen(settled, fault)
        return None


def _passes_unseen(settled: Settled) -> bool:
    """Is there nothing that this command could take which would not pass anyway?"""
    from safedocker import inforce
    from safedocker.edge.terminal import Terminal
    from safedocker.policy import decide

    policy, who = inforce.in_force(can_ask=Terminal().can_ask)
    action = decide.about_a_gap(settled.command, settled.form, policy, who)
    return action is decide.Action.PASS


def enter(settled: Settled) -> Room:
    """Open what the steps need: the policy first, then the engine that the command addresses."""
    import pathlib

    from safedocker import handover, inforce, telling
    from safedocker.backup.store import FolderStore
    from safedocker.edge import batch
    from safedocker.edge.terminal import Terminal, withhold_notes
    from safedocker.policy.options import PULL, STORE, Pull

    terminal = Terminal()
    policy, who = inforce.in_force(can_ask=terminal.can_ask)
    if not inforce.reads_text(who, policy):
        withhold_notes()
    engine = connect(settled, policy)
    if engine is not None:
        engine.mover.may_pull = policy[PULL] is Pull.HELPER
    store = FolderStore(pathlib.Path(process.backups_folder(policy[STORE])))
    handover.put_right(store, engine, terminal)
    turn = batch.Turn(pathlib.Path(process.state_folder()))
    parent = batch.parent(who.parent) if who.can_be_asked else None
    return Room(settled, engine, store, terminal, policy, who, turn, parent, telling.Written())


def connect(settled: Settled, policy: Policy) -> Engine | None:
    """The engine that the command addresses; None for a form that needs none."""
    from safedocker.edge.engine import Engine
    from safedocker.policy.options import BIND_REMOTE, BindRemote

    looks = policy[BIND_REMOTE] is BindRemote.LOOK
    return Engine(address_of(settled), looks=looks) if settled.form.reach.needs_engine else None


def address_of(settled: Settled) -> Address:
    """The engine that the command will hit, found as the client that runs finds it."""
    from safedocker.edge import address

    settled.client.check_is_docker()
    options = dict(settled.command.globals)
    compose = settled.versions.compose
    if settled.command.program == "docker-compose" and compose is not None and compose[0] == 1:
        environ = {**settled.client.dot_env(settled.command), **os.environ}
        try:
            return address.resolve_compose_v1(options, environ)
        except NoAddress as fault:  # v1 reads addresses in a way of its own
            raise NoEngine(fault.message, fault.hint) from fault
    return address.resolve(options, os.environ, client=settled.versions.docker)


def guard(room: Room) -> tuple[Backup, ...]:
    """Steps 2 to 5 up to exec: return the backups that were taken.

    A command that would fail by itself is let through to do so. Raise Refused, NoBackup, ...
    when it may not run.
    """
    from safedocker import asking, handover, survey
    from safedocker.policy.decide import Action

    taken: tuple[Backup, ...] = ()
    plan = None
    try:
        plan = survey.survey(room.settled, room.engine)
        for _ in range(ROUNDS):
            plan, decision = decide_on(plan, room)
            if decision.action is Action.ASK and room.turn.take():
                plan = None  # another question was answered meanwhile: what holds now?
                plan, decision = decide_on(survey.survey(room.settled, room.engine), room)
            try:
                backup = act(plan, decision, room)
            finally:
                room.turn.end()
            if backup is not None:
                taken += (backup,)
            again = survey.survey(room.settled, room.engine)
            if not _grown(plan, again):
                asking.make_by_policy(again, decision, room)
                return taken
            room.terminal.note("more would go now than when you were asked")
            plan = again
        raise Refused(
            "what the command would remove keeps growing: nothing was removed",
            "stop what makes new volumes or containers, and type the command again",
        )
    except WouldFail as fault:
        handover.call_off(taken, room)
        if plan is not None and (plan.losses or plan.gaps):
            raise Refused(
                f"a moment ago data would have gone, now the command would fail ({fault}): "
                "nothing was removed",
                "type the command again",
            ) from fault
        return ()
    except BaseException:
        handover.call_off(taken, room)
        raise


def _grown(before: Plan, after: Plan) -> bool:
    from safedocker.loss import reach

    return reach.grown(before, after)


def decide_on(plan: Plan, room: Room) -> tuple[Plan, Decision]:
    """Step 3, and the plan with what a look inside saw."""
    from safedocker import survey
    from safedocker.policy import decide

    room.written.plan = plan
    weigh = decide.wants_weight(room.policy, room.who, plan)
    plan = survey.look_inside(plan, room.engine, weigh=weigh)
    room.written.plan = plan
    return plan, decide.decide(plan, room.policy, room.who)


def act(plan: Plan, decision: Decision, room: Room) -> Backup | None:
    """Step 4 and the audit line: return the backup that was taken, or None where none is needed.

    Raise Refused when the person, or the policy, says no.
    """
    from typing import assert_never

    from safedocker import telling
    from safedocker.policy.decide import Action
    from safedocker.policy.options import Answer

    match decision.action:
        case Action.PASS:
            try:
                telling.write(plan, decision, room, "pass")
            except Refused:
                if plan.losses:
                    raise
            room.terminal.passed(plan, decision)
            return None
        case Action.RECORD:
            return _back_up(plan, decision, room)
        case Action.REFUSE:
            telling.write(plan, decision, room, "refused")
            raise telling.Refusal(plan, decision, room.who, room.policy)
        case Action.BACK_UP:
            return _back_up(plan, decision, room)
        case Action.ASK:
            from safedocker import asking
            from safedocker.backup import ways

            offers = ways.offers(decision.protected, wish(plan, room))
            answer, told = asking.ask(plan, decision, offers, room)
            other = offers[1].protect if answer is Answer.OTHERWISE else None
            return _answered(answer, told, plan, decision, room, other)
        case _:
            return assert_never(decision.action)


def wish(plan: Plan, room: Room, protect: Protect | None = None) -> Wish:
    """How it is to be protected: as the policy would have it, unless another way was chosen."""
    from safedocker.backup.ways import Wish
    from safedocker.policy.options import ARCHIVE_LINE, PROTECT

    way = protect or room.policy[PROTECT]
    lines = room.policy[ARCHIVE_LINE], room.policy.dump_up_to(way)
    return Wish(way, lines[0], not plan.pauses, lines[1])


def _answered(
    answer: Answer,
    answered: str,
    plan: Plan,
    decision: Decision,
    room: Room,
    other: Protect | None,
) -> Backup | None:
    """What the person chose, done; `other` is the way of a backup that is not the policy's."""
    from typing import assert_never

    from safedocker import telling
    from safedocker.policy.options import Answer

    match answer:
        case Answer.BACK_UP | Answer.OTHERWISE:
            return _back_up(plan, decision, room, answered, other)
        case Answer.WITHOUT:
            telling.write(plan, decision, room, "without a backup", answered=answered)
            return None
        case Answer.MAKE:
            from safedocker import asking

            asking.make_paths(plan)
            telling.write(plan, decision, room, "paths made", answered=answered)
            return None
        case Answer.CANCEL:
            telling.write(plan, decision, room, "cancelled", answered=answered)
            raise Refused("cancelled: nothing was removed")
        case _:
            return assert_never(answer)


def _back_up(
    plan: Plan,
    decision: Decision,
    room: Room,
    answered: str | None = None,
    protect: Protect | None = None,
) -> Backup:
    import datetime

    from safedocker import handover, telling
    from safedocker.backup import take
    from safedocker.edge import stamp
    from safedocker.edge.contexts import Contexts
    from safedocker.policy.decide import Action

    with room.terminal.progress(shown=room.turn.take_if_free()) as progress:
        backup = take.take(
            plan,
            decision.protected,
            room.engine,
            room.store,
            argv=room.settled.words,
            cwd=process.working_directory(),
            caller=room.who.text,
            progress=progress,
            now=datetime.datetime.now(datetime.UTC),
            stop=decision.action is not Action.RECORD,
            contexts=Contexts,
            wish=wish(plan, room, protect),
            process=stamp.make(),
        )
    try:
        telling.write(plan, decision, room, "backed up", backup.id, answered)
    except BaseException:
        handover.call_off((backup,), room)
        raise
    if decision.action is not Action.RECORD:
        room.terminal.backed_up(backup)
    return backup
