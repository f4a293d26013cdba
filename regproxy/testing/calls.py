"""A call log with scripted failures and gates, shared by the doubles of this package."""

from __future__ import annotations

import attrs

from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.reply import Gate


@attrs.frozen(slots=True)
class Call:
    """One call: ``operation`` as ``blobs.open``, and what it was about."""

    operation: str
    repository: Repository | None = None
    reference: Digest | Tag | None = None


@attrs.define(slots=True, eq=False)
class _Fault:
    operation: str
    error: BaseException | None
    gate: Gate | None
    repository: Repository | None
    reference: Digest | Tag | None
    left: int | None

    def covers(self, call: Call) -> bool:
        """Whether it is about this call, and not used up."""
        return (
            self.left != 0
            and self.operation == call.operation
            and self.repository in (None, call.repository)
            and self.reference in (None, call.reference)
        )


class Script:
    """What a double was asked, and what it is to do wrong or late."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._faults: list[_Fault] = []

    def count(
        self, operation: str, repository: Repository | None = None, reference: Digest | Tag | None = None
    ) -> int:
        """How many calls there were of ``operation`` (about these)."""
        return sum(
            call.operation == operation
            and repository in (None, call.repository)
            and reference in (None, call.reference)
            for call in self.calls
        )

    def fail(
        self,
        operation: str,
        error: BaseException,
        *,
        repository: Repository | None = None,
        reference: Digest | Tag | None = None,
        times: int | None = None,
    ) -> None:
        """From now on (``times`` times) the operation fails with ``error``."""
        self._faults.append(_Fault(operation, error, None, repository, reference, times))

    def hold(
        self,
        *operations: str,
        repository: Repository | None = None,
        reference: Digest | Tag | None = None,
        times: int | None = None,
    ) -> Gate:
        """From now on the operations wait at the gate that this returns."""
        gate = Gate()
        for operation in operations:
            self._faults.append(_Fault(operation, None, gate, repository, reference, times))
        return gate

    def heal(self) -> None:
        """Forget failures and gates; what waits at a gate goes on waiting for it."""
        self._faults = []

    async def enter(self, call: Call) -> None:
        """Note the call, wait at its gates, then raise what it is to fail with."""
        self.calls.append(call)
        covering = [fault for fault in self._faults if fault.covers(call)]
        for fault in covering:
            if fault.left is not None:
                fault.left -= 1
        for fault in covering:
            if fault.gate is not None:
                await fault.gate.enter()
        for fault in covering:
            if fault.error is not None:
                raise fault.error
