"""The guard guards: each kind of fault fails a test, and an innocent one passes."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

_TESTS = """
import asyncio
import time

from tests.loopguard import lost_on, loopguard


def burn(cpu_s):
    end_s = time.thread_time() + cpu_s
    while time.thread_time() < end_s:
        pass


async def test_holds_the_loop():
    await asyncio.sleep(0)
    burn(0.08)


async def test_may_hold_the_loop(loopguard):
    loopguard.may_hold = True
    burn(0.08)


async def test_sleeps_in_wall_time():
    time.sleep(0.08)


async def test_forgets_a_future():
    asyncio.get_running_loop().create_future().set_exception(ValueError("forgotten"))


async def test_forgets_a_task():
    async def fail():
        raise ValueError("forgotten")

    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_forgets_to_await():
    asyncio.sleep(0)


async def test_expects_it():
    lost = lost_on(asyncio.get_running_loop())
    asyncio.get_running_loop().create_future().set_exception(ValueError("expected"))
    assert len(lost) == 1
"""


def test_each_fault_fails_its_test(tmp_path: Path) -> None:
    """In a run of its own, because these tests have to fail."""
    (tmp_path / "test_faults.py").write_text(_TESTS)
    root = Path(__file__).parents[3]
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-c", str(root / "pyproject.toml"), f"--rootdir={tmp_path}"]
    subprocess.run([*command, f"--junitxml={report}", str(tmp_path)], cwd=root, timeout=50, check=False)
    cases = list(ET.parse(report).iter("testcase"))
    bad = {case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None}
    assert len({case.get("name") for case in cases}) == 7
    assert bad == {"test_holds_the_loop", "test_forgets_a_future", "test_forgets_a_task", "test_forgets_to_await"}


async def test_the_guard_is_around_this_test(request: pytest.FixtureRequest) -> None:
    """It is in the conftest of all tests."""
    assert "loopguard" in request.fixturenames
