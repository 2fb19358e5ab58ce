"""The page in a real browser: a person follows a run and a job, steers, and reaches everything without a mouse."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fogline.dashboard.board import About, Answer
from fogline.dashboard.hub import Hub
from fogline.dashboard.runs import RunsBoard
from fogline.inference.card import Asset, Card, Lineage, Tensor
from fogline.monitoring.tree_state import RoundState, SnapshotWriter, TreeNode, TreeNodes, TreeSnapshot, write_nodes
from fogline.registry.model_report import ModelReport, Steer
from fogline.registry.release import Release, Tally
from tests.dashboard.browser import needs_chromium
from tests.dashboard.looking import PHONE, check_accessible, fits, looking, playwright
from tests.dashboard.people import board_of, operator_of
from tests.dashboard.test_runs import begun, row
from tests.network.cluster import Cluster, cluster, job, within
from tests.patience import PATIENCE

pytestmark = [needs_chromium, pytest.mark.slow]


def with_tree(path: Path) -> SnapshotWriter:
    """A run with a tree: two fogs of thirty devices each, of which some train."""
    nodes = (TreeNode("cloud", "", "cloud"), TreeNode("fog-0", "cloud", "fog"), TreeNode("fog-1", "cloud", "fog"))
    devices = tuple(f"client-{i:02}" for i in range(60))
    write_nodes(path / "nodes.json", TreeNodes(nodes, devices, tuple(1 + i % 2 for i in range(60))))
    return SnapshotWriter(path / "tree.json")


def test_a_person_follows_a_run(tmp_path: Path) -> None:
    async def work() -> None:
        with begun(tmp_path / "run") as folder:
            tree = with_tree(folder.path)
            rounds = (RoundState(True, 2, ("fog-0", "fog-1"), 0, 2, 1), RoundState(), RoundState())
            tree.write(TreeSnapshot(3, rounds, "t" * 20 + "w" * 35 + "o" * 3 + "lf"))
            async with looking(RunsBoard([folder.path]), color_scheme="light", locale="en-GB") as page:
                await page.get_by_text("Waits for 2 (fog-0, fog-1)").wait_for()
                assert "20 train" in await page.get_by_label("Devices by state").inner_text()
                assert "run" not in page.url.partition("#")[2]  # The key does not stay in the address.
                tree.write(TreeSnapshot(4, rounds, "w" * 60))
                await page.get_by_text("60 wait").first.wait_for()
                await check_accessible(page)

                # One fog, by keyboard, and one device of it.
                await page.locator("a.card").filter(has=page.get_by_role("heading", name="fog-1")).focus()
                await page.keyboard.press("Enter")
                await page.get_by_role("heading", name="fog-1").wait_for()
                await page.get_by_label("Search").fill("client-07")
                await page.get_by_role("cell", name="client-07").wait_for()
                assert await page.get_by_role("cell", name="client-09").count() == 0
                await check_accessible(page)

                # The curves, as they grow.
                await page.get_by_role("link", name="Runs").click()
                folder.append(row(1))
                await page.get_by_role("cell", name="1 / 30").wait_for()
                folder.append(row(2))
                await page.get_by_role("cell", name="2 / 30").wait_for()
                chart = page.locator(".chart").first
                await playwright.expect(chart).to_have_attribute(
                    "aria-label", re.compile("52.00 %"), timeout=1000 * PATIENCE
                )
                ticks = await chart.evaluate("element => element.plot.axes[0]._values")
                assert ticks
                assert all(tick.isdecimal() for tick in ticks), ticks  # There is no round 1.25.
                await page.get_by_label("Over").select_option("seconds")
                await playwright.expect(chart).to_have_attribute(
                    "aria-label", re.compile("time"), timeout=1000 * PATIENCE
                )
                await page.locator("summary").click()
                await page.get_by_role("cell", name="algorithm.name", exact=True).wait_for()
                await check_accessible(page)

                # In the dark, and in Chinese.
                await page.get_by_role("button", name="Dark").click()
                await page.get_by_role("button", name="中文").click()
                await page.get_by_role("heading", name="執行", exact=True).wait_for()
                assert await page.locator("html").get_attribute("lang") == "zh-Hant"
                await check_accessible(page)
                await page.reload()  # What was chosen is kept, and so is the session.
                await page.get_by_role("link", name="樹狀圖").wait_for()

    asyncio.run(work())


def test_on_a_phone_nothing_is_cut_off(tmp_path: Path) -> None:
    async def work() -> None:
        with begun(tmp_path / "run") as folder:
            with_tree(folder.path).write(TreeSnapshot(1, (RoundState(),) * 3, "w" * 60))
            folder.append(row(1))
            async with looking(RunsBoard([folder.path]), viewport=PHONE, is_mobile=True, has_touch=True) as page:
                await page.get_by_text("60 wait").first.wait_for()
                assert await fits(page)
                await page.get_by_role("link", name="Runs").tap()
                await page.get_by_role("cell", name="1 / 30").wait_for()
                assert await fits(page)

    asyncio.run(work())


@pytest.fixture(scope="module")
def made(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cloud, a fog with two devices, and people."""
    with within(runner, cluster(tmp_path_factory.mktemp("browser"), fogs=1, devices=2)) as made:
        for role in ("developer", "owner", "auditor"):
            runner.run(made.join(f"an-{role}", role))
        yield made


def test_a_person_follows_a_job_and_revokes_a_node(runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        async with looking(board_of(made, operator_of(made)), locale="en-GB") as page:
            record = await made.submit(job(rounds=3, fogs=1, clients=2))
            await page.get_by_text(record.job).wait_for()
            await page.get_by_text("Round 3 of 3").wait_for()
            await page.get_by_role("link", name="Runs").click()
            await page.get_by_role("region", name="Runs").get_by_role("cell", name="finished").wait_for()
            assert await page.get_by_role("button", name="Stop").count() == 0  # There is nothing to stop.
            await page.get_by_role("link", name="Trust").click()
            line = page.get_by_role("row", name="client-0")
            await line.get_by_role("button", name="Revoke").click()
            await page.get_by_role("button", name="Cancel").click()
            assert all(node.up for node in await made.client.nodes())
            await line.get_by_role("button", name="Revoke").click()
            await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            await line.get_by_text("offline").wait_for()
            await page.get_by_role("button", name="Fetch and verify").click()
            await page.get_by_text("It holds").wait_for()
            await page.get_by_role("cell", name="node.revoked").wait_for()
            await check_accessible(page)

    runner.run(work())


DOES = "What it does, and what owners say to it"
BUTTONS = {
    "operator": {"Stop", "Stop and publish", "Clone", "Revoke", "Make", "Fetch and verify"},
    "developer": {"Clone"},
    "owner": {"Approve", "Refuse"},
    "auditor": {"Fetch and verify"},
}
"""What each role has a button for that changes something, or shows what not everybody may see, of another's job."""
FOR_ALL = ("Fetch and read", "Fetch and add up")


@pytest.mark.parametrize("role", BUTTONS)
def test_a_role_has_buttons_for_what_it_may_and_no_others(role: str, runner: asyncio.Runner, made: Cluster) -> None:
    async def work() -> None:
        record = await made.submit(job(rounds=1, fogs=1, clients=3), wait=3600.0)  # A third device never comes.
        identity = operator_of(made) if role == "operator" else made.folder / f"an-{role}" / "identity"
        async with looking(board_of(made, identity), locale="en-GB") as page:
            await page.get_by_role("link", name="Runs").click()
            await page.get_by_role("button", name=record.job).click()
            await page.get_by_role("heading", name=record.job).wait_for()
            found = await buttons(page)
            await page.get_by_role("link", name=DOES).click()
            await page.get_by_text("Data tagged").or_(page.get_by_text("Whatever its task reads")).wait_for()
            await page.get_by_role("cell", name="client-1").wait_for()
            found |= await buttons(page)
            assert found >= set(FOR_ALL)
            everybody_s = set.union(*BUTTONS.values())
            assert found & everybody_s == BUTTONS[role]
        await made.client.stop(record.job, "discard")
        await made.finish(record)

    runner.run(work())


async def buttons(page: Any) -> set[str]:
    """Texts of all buttons, also in what is folded."""
    return {text.strip() for text in await page.locator("main button").all_text_contents()}


class Models:
    """A board of a model in the middle of a rollout, that notes what is wanted of it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.about = About("cloud", ("models",), ("steer",), "ann", "operator")
        self.wanted: list[Steer] = []

    def answers(self) -> Mapping[str, Answer]:
        async def steer(body: bytes) -> Any:
            self.wanted.append(msgspec.json.decode(body, type=Steer))
            return "digits goes back to version 1."

        return {"steer": steer}

    async def follow(self) -> None:
        self.hub.tell("model/digits", report())
        await asyncio.Event().wait()


def report() -> ModelReport:
    """Version 2 is with a fifth of the nodes; version 1 was with all."""
    tensor = Tensor("x", "FP32", (-1, 2))

    def card(version: int) -> Card:
        lineage = Lineage(job=f"demo-{version}", algorithm="fedavg", rounds=20, by="ann")
        return Card(
            model="digits",
            version=version,
            created=0.0,
            inputs=(tensor,),
            outputs=(tensor,),
            metrics={"accuracy": 0.9 + version / 100},
            lineage=lineage,
        )

    release = Release(model="digits", number=3, version=2, card=Asset("0" * 64, 1), width=0.2, state="rolling")
    tallies = {1: Tally(answers=900, rows=900, errors=9, labels=100, correct=90, seconds=0.9)}
    return ModelReport("digits", (card(2), card(1)), release, tallies=tallies, psi={1: 0.12})


def test_a_person_rolls_a_model_back(runner: asyncio.Runner) -> None:
    async def work() -> None:
        board = Models()
        async with looking(board, locale="en-GB") as page:
            await page.get_by_text("Version 2 goes to 20 % of the nodes").wait_for()
            await page.get_by_role("cell", name="accuracy 92.00 %").wait_for()
            await check_accessible(page)
            await page.get_by_role("button", name="Roll back").click()
            await page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
            await page.get_by_role("status").get_by_text("digits goes back to version 1.").wait_for()
        assert board.wanted == [Steer("digits", "rollback")]

    runner.run(work())
