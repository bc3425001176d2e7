"""The catalogue 目录: every service that may be asked, bound to its source, with its published match contract.

A withheld service stands in the catalogue without a source (四川 第二十三条: not shared, still catalogued), and
must name its legal ground (四川 第六条(一), 山东 第十三条).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.base import EXISTENCE, AttributeBinding, Binding, BindingInvalid
from adapters.compare import Comparison, build
from app.registry.files import Members
from evidence.canonical import canonical

SHARING = ("unconditional", "conditional", "withheld")
CATEGORIES = ("base", "theme", "department")  # 四川 第十六条
CYCLES = ("realtime", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular")
DISCLOSURES = ("overall", "per_attribute")  # from the least to the most
NAME = re.compile(r"^[a-z][a-z0-9-]{1,62}$")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a service's data lie: the adapter, its address (with `${NAME}` placeholders) and its load status."""

    adapter: str
    url: str
    updated: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Answerable:
    """What makes a service answerable: source, binding, and the comparison of each declared or confirming value."""

    source: Source
    binding: Binding
    confirm: Mapping[str, Comparison]
    attributes: Mapping[str, Comparison]
    required: frozenset[str]

    @property
    def lookups(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """How the rows of a subject are found in the relation asked and in the register."""
        binding, source = self.binding, self.source
        pairs = {binding.relation: binding.subject_column}
        # A register in the relation asked may find its rows by another column; its accounts are those of that column.
        if binding.register != binding.relation:
            pairs[binding.register] = binding.register_column
        return tuple((name, (source.adapter, source.url, by, binding.subject_type)) for name, by in pairs.items())


@dataclass(frozen=True, slots=True)
class Service:
    """One item of the catalogue (山东 第十六条, 四川 第八条); `answerable` is None where sharing is withheld.

    `disclosure` is the most that any agreement on it may disclose: with `masks` the published condition of sharing
    (山东 第十六条). `source_attributes` names, by attribute, what it reads as `provider/relation.column`, sorted;
    `existence` is `provider/relation.*`: that there is a row. `confirmed_by` are the columns that confirm the
    subject: pairs of source attribute and key in `adapters.base.Answer.values`; trying out names is a search too.
    """

    name: str
    version: int
    title: Mapping[str, str]
    summary: Mapping[str, str]
    category: str
    provider: str
    sharing: str
    basis: tuple[str, ...]
    update_cycle: str
    population: Mapping[str, str] | None
    answerable: Answerable | None
    example: Mapping[str, Any]
    contract: Mapping[str, Any]
    contract_digest: str
    disclosure: str
    existence: str
    source_attributes: Mapping[str, tuple[str, ...]]
    confirmed_by: tuple[tuple[str, str], ...]

    @property
    def masks(self) -> frozenset[str]:
        """The attributes that an agreement may disclose masked."""
        found = self.answerable.binding.attributes if self.answerable else ()
        return frozenset(item.name for item in found if item.mask)

    def accounts_of(self, declared: Iterable[str], masked: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """What a question draws on: pairs of source attribute and column (`*`: existence), sorted.

        They are the same over all services of a provider's relation. Each has an account of its own, and the column's
        fingerprints stand in `adapters.base.Answer.values`. Raises `KeyError` for an attribute that is not bound.
        """
        touched = {name for attribute in (*declared, *masked) for name in self.source_attributes[attribute]}
        relation = self.existence.removesuffix(EXISTENCE)
        return tuple((name, name.removeprefix(relation)) for name in sorted(touched or {self.existence}))


class Catalogue:
    """All services by name, in the order of names."""

    def __init__(self, documents: Iterable[Members], departments: Iterable[str]) -> None:
        known = set(departments)
        self.services: dict[str, Service] = {}
        lookups: dict[str, tuple[str, ...]] = {}
        grids: dict[str, tuple[object, ...]] = {}
        for document in documents:
            service = _service(document)
            if service.name in self.services:
                raise document.refuse(f"service {service.name} stands twice")
            if service.provider not in known:
                raise document.refuse(f"provider {service.provider} is no registered department")
            # INVARIANT: an account's values are those of one relation, found in one way: else asking now here, now
            # there would seem to change them, and renew it.
            _refuse_second_lookup(document, service, lookups)
            _refuse_second_grid(document, service, grids)
            self.services[service.name] = service

    def find(self, name: str) -> Service | None:
        """The service of that name, or None."""
        return self.services.get(name)


def _refuse_second_lookup(document: Members, service: Service, lookups: dict[str, tuple[str, ...]]) -> None:
    """Refuse a relation that another service reads from another source, or by another subject column."""
    answerable = service.answerable
    for relation, lookup in answerable.lookups if answerable else ():
        if lookups.setdefault(f"{service.provider}/{relation}", lookup) != lookup:
            raise document.refuse(
                f"{service.provider}/{relation} is read by another service from another source or by another subject "
                "column: bind a view of its own"
            )


def _refuse_second_grid(document: Members, service: Service, grids: dict[str, tuple[object, ...]]) -> None:
    """Refuse a column that has another grid or tolerance elsewhere: answers on both would add up to finer steps."""
    for attribute, comparison in service.answerable.attributes.items() if service.answerable else ():
        published = comparison.describe()
        grid = published.get("grid"), published.get("tolerance")
        for column in service.source_attributes[attribute] if "grid" in published else ():
            if grids.setdefault(column, grid) != grid:
                raise document.refuse(
                    f"{attribute}: {column} has the grid {grids[column][0]} and the tolerance {grids[column][1]} "
                    "already, and a column has one of each"
                )


def digest(document: Mapping[str, Any]) -> str:
    """`sha256-<hex>` of the document's canonical form (RFC 8785)."""
    return "sha256-" + hashlib.sha256(canonical(document)).hexdigest()


def _service(document: Members) -> Service:
    name = document.text("service")
    if not NAME.match(name):
        raise document.refuse("service must be lower-case words joined by hyphens")
    version = document.integer("version", 1)
    sharing = document.choice("sharing", SHARING)
    basis = document.texts("basis", [])
    common: dict[str, Any] = {
        "title": document.titles("title"),
        "summary": document.titles("summary"),
        "category": document.choice("category", CATEGORIES),
        "provider": document.text("provider"),
        "update_cycle": document.choice("update_cycle", CYCLES),
        "population": document.titles("population") if "population" in document.document else None,
        "example": document.members("example").rest() if "example" in document.document else {},
        "disclosure": DISCLOSURES[0],
    }
    if sharing != "withheld":
        common["disclosure"] = document.choice("disclosure", DISCLOSURES, DISCLOSURES[0])
    if sharing == "withheld" and not basis:
        raise document.refuse("a withheld service must name the law that forbids sharing (山东 第十三条)")
    answerable = None if sharing == "withheld" else _answerable(document, name)
    document.done()
    contract = _contract(name, version, answerable, common)
    return Service(
        name=name,
        version=version,
        sharing=sharing,
        basis=basis,
        answerable=answerable,
        contract=contract,
        contract_digest=digest(contract),
        existence=f"{common['provider']}/{answerable.binding.relation if answerable else name}.{EXISTENCE}",
        source_attributes=_source_attributes(common["provider"], answerable),
        confirmed_by=_confirmed_by(common["provider"], answerable),
        **common,
    )


def _answerable(document: Members, service: str) -> Answerable:
    source = document.members("source")
    relation = source.text("relation")
    updated = source.optional("updated")
    bound = Source(
        adapter=source.text("adapter"),
        url=source.text("url"),
        updated=(updated.text("relation"), updated.text("column")) if updated else None,
    )
    source.done()
    subject_field, subject_type, subject_column = _subject(document)
    confirm = document.members("confirm")
    register = confirm.text("register", relation)
    register_column = confirm.text("column", subject_column)
    confirm_bindings = _attributes(confirm)
    attribute_bindings = _attributes(document.optional("attributes") or Members(document.where, {}))
    required = frozenset(document.texts("required", [item.name for item in attribute_bindings]))
    if not confirm_bindings:
        raise document.refuse("confirm must compare something: a number alone never yields a match")
    if unknown := required - {item.name for item in attribute_bindings}:
        raise document.refuse(f"required names no attribute: {', '.join(sorted(unknown))}")
    binding = Binding(
        service=service,
        relation=relation,
        subject_field=subject_field,
        subject_type=subject_type,
        subject_column=subject_column,
        register=register,
        register_column=register_column,
        confirm=confirm_bindings,
        attributes=attribute_bindings,
        many=document.choice("many", ("any", "all", "latest"), "any"),
        latest_by=document.text("latest_by", "") or None,
    )
    return Answerable(
        source=bound,
        binding=binding,
        confirm=_comparisons(document, confirm_bindings),
        attributes=_comparisons(document, attribute_bindings),
        required=required,
    )


def _subject(document: Members) -> tuple[str, str, str]:
    subject = document.members("subject").rest()
    if len(subject) != 1:
        raise document.refuse("subject needs exactly one member, the number that names the subject")
    ((field, value),) = subject.items()
    inner = Members(f"{document.where} subject.{field}", value if isinstance(value, dict) else {})
    result = (field, inner.choice("type", ("resident_id", "credit_code", "code")), inner.text("column"))
    inner.done()
    return result


def _attributes(document: Members) -> tuple[AttributeBinding, ...]:
    return tuple(_attribute(document, name, value) for name, value in document.rest().items())


def _attribute(document: Members, name: str, value: Any) -> AttributeBinding:
    if not isinstance(value, dict):
        raise document.refuse(f"{name} must be a map with compare and its columns")
    members = dict(value)
    compare = members.pop("compare", None)
    mask = members.pop("mask", None)
    if not isinstance(compare, str) or not (mask is None or isinstance(mask, str)):
        raise document.refuse(f"{name}: compare and mask must be texts")
    roles = {role: members.pop(role) for role in ("column", "from", "to") if role in members}
    return AttributeBinding(name=name, compare=compare, columns=roles, options=members, mask=mask)


def _comparisons(document: Members, bindings: Iterable[AttributeBinding]) -> dict[str, Comparison]:
    try:
        return {binding.name: build(binding) for binding in bindings}
    except BindingInvalid as error:
        raise document.refuse(str(error)) from None


def _source_attributes(provider: str, answerable: Answerable | None) -> dict[str, tuple[str, ...]]:
    if answerable is None:
        return {}
    binding = answerable.binding
    return {
        item.name: tuple(f"{provider}/{binding.relation}.{column}" for column in item.reads)
        for item in binding.attributes
    }


def _confirmed_by(provider: str, answerable: Answerable | None) -> tuple[tuple[str, str], ...]:
    if answerable is None:
        return ()
    binding = answerable.binding
    columns = {column for item in binding.confirm for column in item.columns.values()}
    return tuple(
        (f"{provider}/{binding.register}.{column}", f"{binding.register}.{column}") for column in sorted(columns)
    )


def _binding_digest(answerable: Answerable) -> str:
    """Digest of what is read where: an answer of another binding is another answer, under whatever rules."""
    binding, source = answerable.binding, answerable.source
    columns = {
        part: {item.name: dict(item.columns) for item in items}
        for part, items in (("attributes", binding.attributes), ("confirm", binding.confirm))
    }
    places = [binding.relation, binding.subject_column, binding.register, binding.register_column, binding.latest_by]
    return digest({"columns": columns, "places": places, "source": [source.adapter, source.url, source.updated]})


def _contract(name: str, version: int, answerable: Answerable | None, common: Mapping[str, Any]) -> dict[str, Any]:
    """The published, versioned rules of comparison; what stands here is all that the node does to a value."""
    contract: dict[str, Any] = {"service": name, "version": version, "update_cycle": common["update_cycle"]}
    if common["population"]:
        contract["population"] = dict(common["population"])
    if answerable is None:
        return contract
    binding = answerable.binding
    return contract | {
        "subject": {binding.subject_field: binding.subject_type},
        "confirm": {key: item.describe() for key, item in answerable.confirm.items()},
        "attributes": {
            item.name: answerable.attributes[item.name].describe() | ({"mask": item.mask} if item.mask else {})
            for item in binding.attributes
        },
        "binding": _binding_digest(answerable),
        "required": sorted(answerable.required),
        "many": binding.many,
        "results": {
            "match": "the register confirms the subject and one record agrees in every declared attribute",
            "no_match": "the register confirms the subject and no record agrees",
            "not_found": "the register does not confirm the subject; folded into no_match where agreed",
        },
    }
