"""`python -m app policy …`: what may be signed, what start would refuse, and what a proposal would change."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result

from adapters.base import BindingInvalid
from app.keys.node_keys import KeyInvalid
from app.registry.files import NodeFileInvalid
from app.registry.node_directory import read_files
from app.registry.revision import RevisionInvalid, load_signed, read_signers
from app.revisions import RollBack
from examples.demo import signing
from examples.demo.departments import NODE_DIR
from tests.nodes import directories, running
from tests.nodes.commands import altered, copied_database, run, settings_of
from tests.nodes.directories import AGREEMENT, BEGIN, REVISION, rule
from tests.nodes.questions import CLIENT, SERVICE, claimants
from tests.nodes.running import Edits, Ground, RunningNode
from tests.nodes.steps import Parties

NAME = AGREEMENT.removeprefix("agreements/")
REVIEW = "hz-hrss-employment-status-benefit-review"
Proposed = Callable[[Edits], Path]
ProposedOf = Callable[[RunningNode, Edits], Path]


@pytest.fixture(scope="module")
def own(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with five permits, three denials for a purpose of no terms, and two of a stranger."""
    folder = tmp_path_factory.mktemp("proposals")
    made = running.start(ground, folder, NODE_DIR=str(running.edited(ground, folder, BEGIN)))
    questions = claimants(ground.folder)
    for _ in range(5):
        assert made.consumer(CLIENT).ask(SERVICE, next(questions)).status_code == 200
    for _ in range(3):
        made.consumer(CLIENT).ask(SERVICE, next(questions) | {"purpose": "benefit-review"})
    for _ in range(2):
        made.consumer("hz-outsider").ask(SERVICE, next(questions))
    yield made
    made.close()


@pytest.fixture
def proposed_of(tmp_path: Path) -> ProposedOf:
    """Makes a proposal of a node's template and these edits, unsigned."""

    def make(node: RunningNode, edits: Edits) -> Path:
        target = tmp_path / "proposed"
        shutil.copytree(node.folder / "template", target)
        for name, rewrite in edits.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            changed = rewrite(path.read_text("utf-8") if path.exists() else "")
            path.write_text(changed, "utf-8")
        return target

    return make


@pytest.fixture
def proposed(own: RunningNode, proposed_of: ProposedOf) -> Proposed:
    """The same, of the node's own template."""
    return partial(proposed_of, own)


def diff(own: RunningNode, folder: Path, *arguments: str, **settings: str) -> Result:
    return run("policy", "diff", str(folder), *arguments, **settings_of(own, **settings))


def lines(result: Result) -> list[list[str]]:
    """The rows of the table, cell by cell."""
    table = result.output.splitlines()[4:]
    return [re.split(r" {2,}", line.strip()) for line in table if line.strip()]


def test_same_directory_changes_nothing(own: RunningNode, proposed: Proposed) -> None:
    result = diff(own, proposed({}))
    assert (result.exit_code, result.output) == (
        0,
        "10 recorded questions asked again: 0 would be decided otherwise\n",
    )


def test_new_rule_says_who_would_lose(own: RunningNode, proposed: Proposed) -> None:
    result = diff(own, proposed({"rules/new.cedar": lambda _: rule("no-benefit")}))
    assert result.exit_code == 1
    assert "7 would be decided otherwise" in result.output
    assert lines(result) == [
        ["hz-hrss", SERVICE, "unemployment-benefit", "loses", "5", "conditional-agreement", "no-benefit"],
        ["hz-planning", SERVICE, "unemployment-benefit", "other rules", "2", "no-terms", "no-terms"],
        ["no-benefit"],
    ]


def test_widened_agreement_of_an_own_name_says_who_would_gain(own: RunningNode, proposed: Proposed) -> None:
    """It begins later than the questions were asked: they are asked at the same hour of a week in which it holds."""

    def review(text: str) -> str:
        text = text.replace("agreement: hz-hrss-employment-status-benefit-review", "agreement: hz-hrss-review-by-all")
        text = re.sub(r"clients: .*\n", "", text)
        return re.sub(r'from: "20[^"]*"', 'from: "2027-01-01T00:00:00+08:00"', text) + (
            "supersedes: hz-hrss-employment-status-benefit-review\n"
        )

    result = diff(own, proposed({"agreements/hz-hrss-employment-status-benefit-review.yaml": review}))
    assert result.exit_code == 1
    (row,) = lines(result)
    assert row[:5] == ["hz-hrss", SERVICE, "benefit-review", "gains", "3"]
    assert row[-1] == "conditional-agreement"


def test_superseding_agreement_without_the_purpose_says_who_would_lose(own: RunningNode, proposed: Proposed) -> None:
    def narrowed(text: str) -> str:
        text = text.replace(f"agreement: {NAME}", f"agreement: {NAME}-2")
        return text.replace("purposes: [unemployment-benefit]", "purposes: [training]") + f"supersedes: {NAME}\n"

    result = diff(own, proposed({f"{AGREEMENT}.yaml": narrowed}))
    assert result.exit_code == 1
    rows = [row for row in lines(result) if row[0] == "hz-hrss"]
    assert rows == [
        ["hz-hrss", SERVICE, "unemployment-benefit", "loses", "5", "conditional-agreement", "terms-not-active"]
    ]


def test_restricted_department_loses(own: RunningNode, proposed: Proposed) -> None:
    result = diff(own, proposed({"departments/hz-hrss.yaml": lambda text: text + "restricted: true\n"}))
    row = lines(result)[0]
    assert row[3:5] == ["loses", "5"]
    assert row[-1] == "department-restricted"


def test_suspended_provider_loses(own: RunningNode, proposed: Proposed) -> None:
    result = diff(own, proposed({"departments/hz-tax.yaml": lambda text: text + "suspended: true\n"}))
    assert lines(result)[0][3:] == ["loses", "5", "conditional-agreement", "provider-suspended"]


def test_client_that_is_gone_loses(own: RunningNode, proposed: Proposed) -> None:
    def renamed(text: str) -> str:
        return text.replace("client: hz-planning", "client: hz-renamed").replace(
            "client: hz-outsider", "client: hz-renamed"
        )

    name = next(path.name for path in (NODE_DIR / "departments").glob("*.yaml") if "hz-outsider" in path.read_text())
    result = diff(own, proposed({f"departments/{name}": renamed}))
    (row,) = lines(result)
    assert (row[3:5], row[-1]) == (["other rules", "2"], "not-registered")


@pytest.fixture(scope="module")
def moved(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with five permits and three denials; then what permitted ended, and an agreement began that would."""
    folder = tmp_path_factory.mktemp("moved")
    made = running.start(ground, folder, NODE_DIR=str(running.edited(ground, folder, BEGIN)))
    questions = claimants(ground.folder)
    client = made.consumer(CLIENT)
    assert [client.ask(SERVICE, next(questions)).status_code for _ in range(5)] == [200] * 5
    review = [next(questions) | {"purpose": "benefit-review"} for _ in range(3)]
    assert [client.ask(SERVICE, question).status_code for question in review] == [403] * 3
    parties = Parties(made)
    parties.taken(parties.control(NAME, "revocation"))
    text = (NODE_DIR / "agreements" / f"{REVIEW}.yaml").read_text("utf-8")
    text = text.replace(REVIEW, "hz-hrss-review-by-all").replace("clients: [hz-hrss-review]", "clients: []")
    by_all = {"agreements/hz-hrss-review-by-all.yaml": lambda _: f"{text}supersedes: {REVIEW}\n"}
    began = directories.publish(ground, folder, REVISION + 1, by_all)
    made.node.revisions.install(began)
    yield made
    made.close()


def forbids(purpose: str) -> Edits:
    return {"rules/new.cedar": lambda _: rule("no-more", purpose=purpose)}


def test_agreement_revoked_since_permits_nobody_so_nobody_loses_by_it(
    moved: RunningNode, proposed_of: ProposedOf
) -> None:
    result = diff(moved, proposed_of(moved, forbids("unemployment-benefit")))
    assert lines(result) == [
        ["hz-hrss", SERVICE, "unemployment-benefit", "other rules", "5", "terms-not-active", "terms-not-active"],
        ["no-more"],
    ]


def test_agreement_that_began_since_is_what_a_proposal_would_take_away(
    moved: RunningNode, proposed_of: ProposedOf
) -> None:
    result = diff(moved, proposed_of(moved, forbids("benefit-review")))
    assert lines(result) == [["hz-hrss", SERVICE, "benefit-review", "loses", "3", "conditional-agreement", "no-more"]]


def test_same_directory_changes_nothing_whatever_became_of_agreements(
    moved: RunningNode, proposed_of: ProposedOf
) -> None:
    result = diff(moved, proposed_of(moved, {}))
    assert result.output == "8 recorded questions asked again: 0 would be decided otherwise\n"


def test_agreement_that_ended_is_not_superseded_once_more(moved: RunningNode, proposed_of: ProposedOf) -> None:
    """What permits nothing now cannot be lost to the one in its place, whose purpose is another."""

    def narrowed(text: str) -> str:
        text = text.replace(f"agreement: {NAME}", f"agreement: {NAME}-2")
        return text.replace("purposes: [unemployment-benefit]", "purposes: [training]") + f"supersedes: {NAME}\n"

    assert diff(moved, proposed_of(moved, {f"{AGREEMENT}.yaml": narrowed})).exit_code == 0


def test_only_questions_of_the_span_are_asked(own: RunningNode, proposed: Proposed, tmp_path: Path) -> None:
    url = copied_database(own, tmp_path)
    altered(url, "UPDATE decision SET at = at - 7200000")
    folder = proposed({"rules/new.cedar": lambda _: rule("no-benefit")})
    assert diff(own, folder, "--since", "1h", DATABASE_URL=url).output.startswith("0 recorded questions")
    assert diff(own, folder, "--since", "3h", DATABASE_URL=url).output.startswith("10 recorded questions")
    assert diff(own, folder, "--since", "1y", DATABASE_URL=url).exit_code == 2


def test_questions_that_cannot_be_asked_again_are_counted(
    own: RunningNode, proposed: Proposed, tmp_path: Path
) -> None:
    url = copied_database(own, tmp_path)
    altered(url, "UPDATE decision SET facts = NULL WHERE decision = 'permit'")
    result = diff(own, proposed({}), DATABASE_URL=url)
    assert (result.exit_code, "; 5 could not be asked again: see replay --all" in result.output) == (2, True)


def test_proposal_with_a_bad_rule_is_refused_by_file_and_line(own: RunningNode, proposed: Proposed) -> None:
    folder = proposed({"rules/new.cedar": lambda _: rule("one") + rule("one")})
    with pytest.raises(NodeFileInvalid, match=r"new\.cedar, line 7: rule one"):
        diff(own, folder)


def test_diff_changes_and_records_nothing(own: RunningNode, proposed: Proposed) -> None:
    before = len(own.rows())
    diff(own, proposed({"rules/new.cedar": lambda _: rule("no-benefit")}))
    assert len(own.rows()) == before


@pytest.fixture
def key(ground: Ground) -> Path:
    return ground.folder / "pki" / "signing" / f"{signing.POLICY}.key"


def signed(own: RunningNode, target: Path) -> Path:
    """A copy of the node's signed directory."""
    shutil.copytree(own.folder / "directory", target)
    return target


def test_signed_directory_is_what_a_node_trusts(own: RunningNode, tmp_path: Path, key: Path) -> None:
    folder = signed(own, tmp_path / "signed")
    directories.replaced(folder / "node.yaml", f"policy_revision: {REVISION}", f"policy_revision: {REVISION + 1}")
    result = run("policy", "sign", str(folder), "--key", str(key))
    assert (result.exit_code, result.output.startswith("signed revision 6 of hangzhou: ")) == (0, True)
    directory, _ = load_signed(read_files(folder), read_signers(own.node.settings.keys_dir))
    assert directory.rules.revision == REVISION + 1
    checked = run("policy", "check", str(folder), **settings_of(own))
    assert (checked.exit_code, checked.output) == (0, "revision 6 would be put in force\n")


def test_bad_rule_file_is_not_signed_but_named_with_line_and_reason(
    own: RunningNode, tmp_path: Path, key: Path
) -> None:
    folder = signed(own, tmp_path / "signed")
    (folder / "rules" / "new.cedar").write_text(rule("one").replace("when {", "when {{"), "utf-8")
    before = (folder / "revision.jws").read_bytes()
    with pytest.raises(NodeFileInvalid, match=r"rules: new\.cedar, line \d+: "):
        run("policy", "sign", str(folder), "--key", str(key))
    assert (folder / "revision.jws").read_bytes() == before


def test_key_that_others_may_read_signs_nothing(own: RunningNode, tmp_path: Path, key: Path) -> None:
    folder, copy = signed(own, tmp_path / "signed"), tmp_path / "policy.key"
    copy.write_bytes(key.read_bytes())
    copy.chmod(0o644)
    with pytest.raises(KeyInvalid, match="chmod 600"):
        run("policy", "sign", str(folder), "--key", str(copy))


def test_directory_in_force_passes_the_check(own: RunningNode) -> None:
    result = run("policy", "check", str(own.folder / "directory"), **settings_of(own))
    assert (result.exit_code, result.output) == (0, "revision 5 is in force already\n")


TAMPERS = {
    "altered rule": (directories.alter_rule, RevisionInvalid, "altered file"),
    "altered agreement": (directories.alter_agreement, RevisionInvalid, "altered file"),
    "stripped signature": (directories.strip_signature, RevisionInvalid, "is missing"),
    "unknown signer": (directories.sign_as_stranger, RevisionInvalid, "not trusted"),
    "lower revision": (directories.lower_revision, RollBack, "older than 5"),
    "same revision, other content": (directories.same_revision_other_content, RollBack, "with other content"),
    "extra file": (directories.add_file, RevisionInvalid, "extra file"),
}


@pytest.mark.parametrize("attack", TAMPERS.values(), ids=TAMPERS.keys())
def test_check_refuses_what_start_would_and_records_nothing(
    own: RunningNode, tmp_path: Path, attack: tuple[directories.Tamper, type[Exception], str]
) -> None:
    tamper, error, words = attack
    folder, before = signed(own, tmp_path / "signed"), len(own.rows())
    tamper(folder, own.ground.signing_keys())
    with pytest.raises(error, match=words):
        run("policy", "check", str(folder), **settings_of(own))
    assert len(own.rows()) == before


def test_check_refuses_a_source_that_cannot_be_bound(own: RunningNode) -> None:
    settings = settings_of(own) | {"HECHA_SOURCE_HZ_TAX": "nothing://x"}
    with pytest.raises(BindingInvalid):
        run("policy", "check", str(own.folder / "directory"), **settings)
