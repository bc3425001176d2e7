"""PKCS#11 modules: initialised for threads, one login for each token, one session for each thread and token.

python-pkcs11 initialises a module for one thread only, so this does it again with the operating system's locks; calls
from several threads at once would crash the process otherwise. INVARIANT: before a fork everything is given back,
since a child may use nothing that its parent opened; both open it again when they next sign.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, RLock, local
from typing import Any, TypeVar

import pkcs11
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import Mechanism

from app.keys.key_files import read_private
from app.keys.pkcs11_uri import Place

Value = TypeVar("Value")

PAUSES_S = (0.0, 0.05, 0.0)  # after a failure: begin anew at once, then after a moment, then give up
_OS_LOCKING = 2  # CKF_OS_LOCKING_OK
_CANNOT_LOCK = 0x0A  # CKR_CANT_LOCK
_RUNS_ALREADY = 0x191  # CKR_CRYPTOKI_ALREADY_INITIALIZED
_REFUSED_PINS = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired)


@dataclass(frozen=True, slots=True)
class Found:
    """A key pair as a module knows it: the private key, and the curve and point of the public one."""

    private: Any
    curve: bytes
    point: bytes


class Unusable(Exception):
    """The module, the token or the key cannot be used; the text says why and what to do."""


class _Arguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("create", ctypes.c_void_p),
        ("destroy", ctypes.c_void_p),
        ("lock", ctypes.c_void_p),
        ("unlock", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _Functions(ctypes.Structure):
    """The head of CK_FUNCTION_LIST."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("initialize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
        ("finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


class _Session:
    """A session of one thread, closed when the thread ends; what was found in it is remembered."""

    def __init__(self, module: Module, session: Any) -> None:
        self.session = session
        self.generation = module.generation
        self.found: dict[Place, Found] = {}
        self._module = module

    def __del__(self) -> None:
        with suppress(Exception):
            self._module.forget(self)


class Module:
    """One PKCS#11 library of this process. Raises `Unusable` and `PKCS11Error`."""

    def __init__(self, path: Path) -> None:
        self._library = pkcs11.lib(str(path))
        self._library.finalize()  # it was initialised for one thread
        functions = ctypes.POINTER(_Functions)()
        ctypes.CDLL(str(path)).C_GetFunctionList(ctypes.byref(functions))  # as the line above did
        self._functions = functions.contents
        self._is_running = False
        self._is_stopping = False
        self._inside = 0  # calls that are under way; SPEC: PKCS#11 §5.4: C_Finalize while there are any is undefined
        self._logins: dict[str, Any] = {}
        self._refused: dict[str, str] = {}
        self._mine = local()
        self.changed = Condition()
        self.generation = 0

    def find(self, place: Place) -> Found:
        """The key pair at a place. Raises `Unusable`."""
        return self._tried(lambda: self._find(place))

    def sign(self, place: Place, expected: Found, mechanism: str, data: bytes) -> bytes:
        """Sign with the key at a place, if it still is the expected one. Raises `Unusable` and `KeyInvalid`."""

        def signature() -> bytes:
            found = self._find(place)
            if (found.curve, found.point) != (expected.curve, expected.point):
                raise Unusable("the token holds another key than at the start: restart the node")
            return bytes(found.private.sign(data, mechanism=Mechanism[mechanism]))

        return self._tried(signature)

    def stop(self) -> None:
        """Wait for the calls that are under way, then give back sessions, logins and the module itself."""
        with self.changed:
            self._is_stopping = True
            try:
                self.changed.wait_for(lambda: self._inside == 0)
                if self._is_running:
                    self._functions.finalize(None)
                self._is_running = False
                self._logins.clear()
                self.generation += 1
            finally:
                self._is_stopping = False
                self.changed.notify_all()

    def forget(self, held: _Session) -> None:
        """Close the session of a thread that has ended, unless it is gone already."""
        with self.changed:
            if held.generation == self.generation and not self._is_stopping:
                held.session.close()

    def _tried(self, action: Callable[[], Value]) -> Value:
        """Do it again after a restart: a token that was away, or the sessions it closed, are no reason to give up."""
        fault: Exception | None = None
        for pause in PAUSES_S:
            with self._entered():
                generation = self.generation
                try:
                    return action()
                except pkcs11.PKCS11Error as error:
                    fault = error
            with self.changed:
                if generation == self.generation and not self._is_stopping:  # no other thread does it
                    self.stop()
            time.sleep(pause)
        raise Unusable(f"the module fails: {type(fault).__name__} {fault or ''}".rstrip())

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self._is_stopping)
            self._inside += 1
        try:
            yield
        finally:
            with self.changed:
                self._inside -= 1
                self.changed.notify_all()

    def _find(self, place: Place) -> Found:
        sessions: dict[str, _Session] = self._mine.__dict__.setdefault("sessions", {})
        held = sessions.get(place.token)
        if held is None or held.generation != self.generation:
            held = sessions[place.token] = self._open(place)
        if place not in held.found:
            held.found[place] = _find(held.session, place)
        return held.found[place]

    def _open(self, place: Place) -> _Session:
        with self.changed:
            if place.token not in self._logins:
                with _alone(place.pin):
                    self._start()
                    # A token that was put back has lost its sessions: it is looked for anew.
                    token = self._library.get_token(token_label=place.token)
                    self._logins[place.token] = self._log_in(token, place)
            # SPEC: PKCS#11 §5.6: a login holds for all sessions of the process, until the last of them is closed.
            return _Session(self, self._logins[place.token].token.open())

    def _start(self) -> None:
        if self._is_running:
            return
        status = self._functions.initialize(ctypes.byref(_Arguments(flags=_OS_LOCKING)))
        if status == _CANNOT_LOCK:
            raise Unusable("the module cannot be used by several threads: use one that can")
        if status not in (0, _RUNS_ALREADY):
            raise pkcs11.GeneralError(f"C_Initialize gives {status:#x}")
        self._is_running = True

    def _log_in(self, token: Any, place: Place) -> Any:
        pin = read_private(place.pin).decode("utf-8", "replace").rstrip("\r\n")
        if self._refused.get(place.token) == pin:
            # INVARIANT: a token locks after some wrong PINs, so none is tried twice.
            raise Unusable(f"the token {place.token} refused the PIN of {place.pin} before: put the right one there")
        try:
            return token.open(user_pin=pin)
        except _REFUSED_PINS as error:
            self._refused[place.token] = pin
            raise Unusable(
                f"the token {place.token} refuses the PIN of {place.pin}: {type(error).__name__}"
            ) from None


_modules: dict[Path, Module] = {}
_loading = RLock()


def module(place: Place) -> Module:
    """The module of a place, loaded once. Raises `Unusable`."""
    with _loading:
        if place.module not in _modules:
            try:
                with _alone(place.pin):
                    _modules[place.module] = Module(place.module)
            except (pkcs11.PKCS11Error, OSError) as error:
                raise Unusable(f"{place.module} cannot be loaded: {error or type(error).__name__}") from None
        return _modules[place.module]


def stop_all() -> None:
    """Give back whatever this process holds of any module."""
    for each in list(_modules.values()):
        each.stop()


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process of the machine at a time: a login may write where another process that begins just now reads."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _find(session: Any, place: Place) -> Found:
    wanted: dict[Attribute, Any] = {Attribute.TOKEN: True}
    if place.label is not None:
        wanted[Attribute.LABEL] = place.label
    if place.id is not None:
        wanted[Attribute.ID] = place.id
    private, public = (
        list(session.get_objects({Attribute.CLASS: kind, **wanted}))
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    )
    for name, objects in (("private", private), ("public", public)):
        if len(objects) != 1:
            raise Unusable(f"the token {place.token} holds {len(objects)} {name} keys of that name: one is needed")
    if not private[0][Attribute.SIGN]:
        raise Unusable("the key is not meant for signing (CKA_SIGN)")
    return Found(private[0], bytes(public[0][Attribute.EC_PARAMS]), bytes(public[0][Attribute.EC_POINT]))


def _before_fork() -> None:
    _loading.acquire()
    for each in _modules.values():
        each.changed.acquire()
        each.stop()


def _after_fork() -> None:
    for each in _modules.values():
        each.changed.release()
    _loading.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
