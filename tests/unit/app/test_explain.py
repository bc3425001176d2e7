"""`python -m app explain` says of a question what the rules in force say, and the caller's 403 says no more of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.explaining import Wanted, explained
from app.settings import SettingInvalid
from policies.decision import explain
from policies.facts import STATES
from tests.nodes import running
from tests.nodes.commands import altered, copied_database, run, settings_of
from tests.nodes.directories import AGREEMENT, BEGIN
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Ground, RunningNode

NAME = AGREEMENT.removeprefix("agreements/")
ASKED = ("--client", CLIENT, "--service", SERVICE, "--purpose", "unemployment-benefit")
Explain = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def own(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("explained")
    made = running.start(ground, folder, NODE_DIR=str(running.edited(ground, folder, BEGIN)))
    yield made
    made.close()


@pytest.fixture
def says(own: RunningNode) -> Explain:
    def said(*arguments: str, **settings: str) -> tuple[int, str]:
        result = run("explain", *arguments, **settings_of(own, **settings))
        return result.exit_code, " ".join(result.output.split())

    return said


def test_permit_names_its_rule_with_articles_and_the_agreement(own: RunningNode, says: Explain) -> None:
    code, output = says(*ASKED)
    assert code == 0
    rules = own.node.registry.rules
    assert f"permitted by revision {rules.revision} of the rules, {rules.digest}" in output
    assert f"comes under {NAME}: agreement, active, signed by every side" in output
    agreement = own.node.registry.agreements.find(NAME)
    assert agreement is not None
    assert agreement.terms.digest in output
    assert "conditional-agreement permits 四川 第二十三条; 山东 第二十五条" in output


def test_permit_that_does_not_speak_says_what_it_lacks(says: Explain) -> None:
    output = says(*ASKED)[1]
    assert "unconditional-standing-terms does not permit" in output
    assert "the service is shared unconditionally" in output
    assert "the law orders this sharing" in output


def test_denial_names_every_broken_rule(says: Explain) -> None:
    code, output = says(*ASKED, "--case", "x", "--operator", "", "--address", "203.0.113.7", "--rows", "20001")
    assert code == 1
    for name in ("case-not-agreed", "operator-not-agreed", "outside-networks", "batch-too-large"):
        assert f"{name} forbids" in output
    assert "conditional-agreement would permit" in output


def test_rule_of_a_departments_own_is_named_too(says: Explain) -> None:
    code, output = says("--client", CLIENT, "--service", SERVICE, "--purpose", "recruitment")
    assert (code, "nobody-recruits forbids 山东 第五条 Nobody asks for this purpose." in output) == (1, True)


def test_question_is_taken_as_signed_where_it_must_be(ground: Ground, tmp_path: Path) -> None:
    demand = {f"{AGREEMENT}.yaml": lambda text: f"{text}request_signature: true\n"}
    made = running.start(ground, tmp_path / "state", NODE_DIR=str(running.edited(ground, tmp_path, demand)))
    try:
        refusal = problem(made.consumer(CLIENT).ask(SERVICE, employment()), "not-permitted")
        assert [reason["rule"] for reason in refusal["reasons"]] == ["signature-required"]
        result = run("explain", *ASKED, **settings_of(made))
        assert (result.exit_code, "conditional-agreement permits" in " ".join(result.output.split())) == (0, True)
    finally:
        made.close()


def test_moment_decides(says: Explain) -> None:
    assert says(*ASKED, "--at", "2030-12-31T23:59:59+08:00")[0] == 0
    for moment in ("2031-01-01T00:00:00+08:00", "2031-01-01T00:00:00", "2030-12-31T16:00:00Z"):
        code, output = says(*ASKED, "--at", moment)
        assert (code, "terms-expired forbids" in output) == (1, True)
    assert "terms-not-yet-valid forbids" in says(*ASKED, "--at", "2025-12-31T23:59:59+08:00")[1]


def test_attributes_decide(says: Explain) -> None:
    assert says(*ASKED, "--attribute", "employed_on", "--attribute", "employer")[0] == 0
    code, output = says(*ASKED, "--attribute", "wage")
    assert (code, f"{SERVICE} has no attribute wage" in output) == (2, True)


def test_nothing_is_made_where_there_is_no_database(says: Explain, tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="there is no database yet"):
        says(*ASKED, DATABASE_URL=f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


def test_words_are_chinese_on_request(says: Explain) -> None:
    code, output = says(*ASKED, "--case", "x", "--lang", "zh")
    assert code == 1
    assert "不予核验" in output
    assert "case-not-agreed 否决" in output
    assert "办件编号缺失或不符合约定格式。" in output
    assert "缺少的条件" in output
    assert "该事项属于无条件共享类" in output
    assert f"适用 {NAME}：共享协议，生效，各方签名有效" in output
    assert not {"would permit", "active", "permits"} & set(output.split())


@pytest.mark.parametrize("state", sorted(set(STATES) - {"active"}))
def test_agreement_in_another_state_is_said_to_be_so(
    own: RunningNode, says: Explain, tmp_path: Path, state: str
) -> None:
    url = copied_database(own, tmp_path)
    altered(url, "UPDATE agreement SET state = ? WHERE id = ?", state, NAME)
    code, output = says(*ASKED, DATABASE_URL=url)
    if state == "approved":
        # It waits for signatures, so that no question comes under it yet.
        assert (code, f"comes under {NAME}" in output) == (1, False)
    else:
        assert (code, f"agreement, {state}, signed" in output, "terms-not-active forbids" in output) == (
            1,
            True,
            True,
        )
        assert state not in says(*ASKED, "--lang", "zh", DATABASE_URL=url)[1].split("，")


def test_withheld_service_quotes_the_providers_ground(says: Explain) -> None:
    code, output = says("--client", CLIENT, "--service", "adoption-registration", "--purpose", "curiosity")
    assert (code, "withheld-service forbids 四川 第六条; 山东 第十三条; " in output) == (1, True)
    assert "no agreement and no standing terms apply" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--client", "nobody", "--service", SERVICE, "--purpose", "x"), "no client nobody is registered"),
        (("--client", CLIENT, "--service", "none", "--purpose", "x"), "there is no service none"),
        ((*ASKED, "--at", "noon"), "--at needs a date and time"),
        (ASKED[:4], "Missing option '--purpose'"),
    ],
)
def test_question_that_nobody_could_ask_is_an_error_of_use(
    says: Explain, arguments: tuple[str, ...], words: str
) -> None:
    code, output = says(*arguments)
    assert (code, words in output) == (2, True)


def test_agreement_that_is_not_signed_is_said_to_be_so(own: RunningNode, says: Explain, tmp_path: Path) -> None:
    url = copied_database(own, tmp_path)
    altered(url, "UPDATE agreement SET signatures = '{}' WHERE id = ?", NAME)
    code, output = says(*ASKED, DATABASE_URL=url)
    assert (code, "NOT signed by every side" in output, "terms-not-signed forbids" in output) == (1, True, True)


DENIED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "case": (CLIENT, SERVICE, {"case": "ab"}, "127.0.0.1"),
    "case and operator and network": (CLIENT, SERVICE, {"case": "ab", "operator": "xy"}, "203.0.113.7"),
    "other purpose": (CLIENT, SERVICE, {"purpose": "property-tax"}, "127.0.0.1"),
    "own rule": (CLIENT, SERVICE, {"purpose": "recruitment"}, "127.0.0.1"),
    "another client's agreement": (CLIENT, SERVICE, {"purpose": "benefit-review"}, "127.0.0.1"),
    "no agreement": ("hz-outsider", SERVICE, {}, "127.0.0.1"),
    "withheld": (CLIENT, "adoption-registration", {}, "127.0.0.1"),
}


@pytest.mark.parametrize("denied", DENIED.values(), ids=DENIED.keys())
def test_caller_is_told_the_same_rules_and_nothing_of_agreements(
    own: RunningNode, denied: tuple[str, str, dict[str, Any], str]
) -> None:
    client, service, members, address = denied
    caller, question = own.consumer(client), employment(**members)
    response = caller.open(
        "POST",
        f"/v1/services/{service}/verifications",
        json=question,
        headers={"Authorization": f"Bearer {caller.token()}"},
        environ_overrides={"REMOTE_ADDR": address},
    )
    document = problem(response, "not-permitted")
    (row,) = own.rows(id=document["instance"])
    wanted = Wanted(
        client=client,
        service=service,
        purpose=question["purpose"],
        at=datetime.fromtimestamp(row.at / 1_000, UTC),
        attributes=tuple(question["declared"]) if service == SERVICE else None,
        address=address,
        case=question["case"],
        operator=question["operator"],
    )
    examination = explained(own.node.registry, wanted).examination
    assert document["reasons"] == explain(examination.decision)
    shown = {key: value for key, value in document.items() if key not in ("receipt", "instance")}
    for item in own.node.registry.directory.filed():
        draft = item.draft
        for secret in (draft.id, draft.digest):
            assert secret not in str(shown)
        for purpose in draft.purposes - {question["purpose"]}:
            assert purpose not in str(shown)
        for department in {*draft.parties, draft.provider} - {""}:
            assert department not in str(shown)
