"""One child process: started with inherited descriptors, waited for, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

_HEAD = 8192  # bytes of a captured standard error that are kept: the first ones, where the cause is
_LAST_WORDS_S = 1.0  # how long to read on after the end; a grandchild could hold the pipe open for ever


class Exit(msgspec.Struct, frozen=True):
    """
    How a process ended.

    Attributes:
        code: its exit code, or minus the number of the signal that killed it.
    """

    code: int

    @property
    def reason(self) -> str:
        """For people: `exit code 1`, `killed by SIGKILL`."""
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"killed by signal {-self.code}"


class Child:
    """
    A running process in a session of its own, so that a Ctrl-C meant for the node does not reach it.

    Whoever starts one waits for it or stops it; its end is noticed at once, by SIGCHLD.
    """

    def __init__(self, process: asyncio.subprocess.Process, reading: asyncio.Task[bytes] | None) -> None:
        self._process = process
        self._reading = reading
        self._head = b""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        descriptors: Sequence[int] = (),
        environ: Mapping[str, str] | None = None,
        capture: bool = False,
    ) -> Child:
        """
        Start a process.

        Args:
            descriptors: inherited under the same numbers.
            environ: the whole environment; None passes ours on.
            capture: keep the beginning of what it prints (`said`) instead of showing it.

        Raises:
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as stack:
            reader: IO[bytes] | None = None
            writer: int | None = None
            if capture:
                read_end, writer = os.pipe()
                reader = stack.enter_context(os.fdopen(read_end, "rb", buffering=0))
                stack.callback(os.close, writer)
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                pass_fds=tuple(descriptors),
                env=environ,
                start_new_session=True,
            )
            if writer is None or reader is None:
                return cls(process, None)
            stack.pop_all()
            os.close(writer)
            return cls(process, asyncio.create_task(_read_head(reader), name="child-output"))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def said(self) -> str:
        """The beginning of what a captured process printed, once `wait` has returned."""
        return self._head.decode(errors="replace")

    async def wait(self) -> Exit:
        """Wait for its end. May be called by several, and again."""
        code = await self._process.wait()
        if self._reading is not None:
            done, _ = await asyncio.wait({self._reading}, timeout=_LAST_WORDS_S)
            self._reading.cancel()
            if done and not self._reading.cancelled():
                self._head = self._reading.result()
        return Exit(code)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended already."""
        self._signal(signal.SIGKILL)

    def ask(self) -> None:
        """Ask it to end (SIGTERM), unless it has ended already."""
        self._signal(signal.SIGTERM)

    async def stop(self, limit_s: float) -> Exit:
        """Ask it to end; kill it when it has not within `limit_s` seconds."""
        self.ask()
        try:
            async with asyncio.timeout(limit_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
        except BaseException:  # given up on, so it must not outlive this
            self.kill()
            raise
        return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


async def _read_head(pipe: IO[bytes]) -> bytes:
    """Read to the end, so that the writer never blocks, and keep the beginning."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    head = b""
    try:
        while part := await reader.read(65536):
            head += part[: _HEAD - len(head)]
    finally:
        transport.close()
    return head
