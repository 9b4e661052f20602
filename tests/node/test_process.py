import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from penstock.node.process import Child, Exit
from tests.node.conftest import gone, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_reasons(code: int, reason: str) -> None:
    assert Exit(code).reason == reason


def test_inherits_descriptors_and_environment_and_tells_its_exit_code() -> None:
    async def case() -> None:
        reader, writer = os.pipe()
        child = await Child.start(
            python(f"import os, sys; os.write({writer}, os.environ['WORD'].encode()); sys.exit(len(os.environ))"),
            descriptors=(writer,),
            environ={"WORD": "hello", "LC_CTYPE": "C.UTF-8"},
        )
        os.close(writer)
        assert await child.wait() == Exit(2)
        assert await child.wait() == Exit(2)
        assert os.read(reader, 100) == b"hello"
        os.close(reader)

    run(case())


def test_keeps_the_beginning_of_what_it_says_and_reads_the_rest() -> None:
    async def case() -> None:
        code = "import sys; print('first', file=sys.stderr); print('x' * 3_000_000, file=sys.stderr); sys.exit(1)"
        child = await Child.start(python(code), capture=True)
        assert (await child.wait()).code == 1
        assert child.said.startswith("first\nxxx")
        assert len(child.said) == 8192

    run(case())


def test_a_grandchild_that_holds_the_output_open_does_not_hold_us() -> None:
    async def case() -> None:
        code = (
            "import subprocess, sys; "
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(p.pid, flush=True)"
        )
        reader, writer = os.pipe()
        child = await Child.start(python(code.replace("print(", f"import os; os.write({writer}, b'%d' % ").replace(
            ", flush=True)", ")")), descriptors=(writer,), capture=True)  # fmt: skip
        assert (await child.wait()).code == 0
        os.close(writer)
        os.kill(int(os.read(reader, 20)), signal.SIGKILL)
        os.close(reader)

    run(case())


def test_a_missing_program_is_an_oserror_and_leaves_nothing() -> None:
    async def case() -> None:
        await (await Child.start(python(""), capture=True)).wait()  # so that the loop has what it needs
        before = open_descriptors()
        with pytest.raises(FileNotFoundError):
            await Child.start(["/no/such/program"], capture=True)
        assert open_descriptors() <= before

    run(case())


def test_stop_asks_first_and_kills_later() -> None:
    polite = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(flush=True); signal.pause()"
    )
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"

    async def stopped(code: str, limit_s: float) -> Exit:
        reader, writer = os.pipe()
        child = await Child.start(python(code.replace("print(flush=True)", f"__import__('os').write({writer}, b'x')")),
                                  descriptors=(writer,))  # fmt: skip
        os.close(writer)
        await asyncio.to_thread(os.read, reader, 1)
        os.close(reader)
        ended = await child.stop(limit_s)
        assert gone(child.pid)
        child.kill()  # harmless
        return ended

    async def case() -> None:
        assert await stopped(polite, 30) == Exit(7)
        assert await stopped(stubborn, 0.05) == Exit(-signal.SIGKILL)

    run(case())


def test_is_out_of_reach_of_a_ctrl_c_in_our_terminal() -> None:
    async def case() -> None:
        child = await Child.start(python("import time; time.sleep(60)"))
        assert os.getsid(child.pid) != os.getsid(0)
        await child.stop(0)

    run(case())


def test_a_stop_that_is_given_up_leaves_no_process() -> None:
    async def case() -> None:
        reader, writer = os.pipe()
        deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        child = await Child.start(python(f"{deaf} os.write({writer}, b'x'); time.sleep(600)"), descriptors=(writer,))
        os.close(writer)
        await asyncio.to_thread(os.read, reader, 1)
        os.close(reader)
        stopping = asyncio.create_task(child.stop(600))
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert await child.wait() == Exit(-signal.SIGKILL)

    run(case())
