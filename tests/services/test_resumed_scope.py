"""A target that goes on in a later slice is judged again: what its row has pinned is data, not a permission."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from scans.models import TargetAddress
from scans.services.slices import run_slice
from tests.factories import make_job
from tests.servers import listening, public

pytestmark = pytest.mark.django_db(transaction=True)


def resume(*pinned, port):
    """The row of a target that had these addresses pinned, after the next slice."""
    job = make_job("half-done.invalid", ports=str(port))
    job.targets.update(partial={"addresses": {address: [] for address in pinned}, "notes": []})
    run_slice()
    return job.targets.get()


def test_a_pinned_address_that_is_allowed_is_gone_on_with():
    with listening(public(61)) as port:
        row = resume(public(61), port=port)
    assert (row.state, row.open_ports) == ("done", 1)


@pytest.mark.parametrize("denied", ["10.0.0.1", "169.254.169.254", "64:ff9b::a00:1", "::ffff:10.0.0.1"])
def test_a_pinned_address_out_of_scope_refuses_the_target(denied):
    with listening(public(62)) as port:
        row = resume(public(62), denied, port=port)
    assert (row.state, row.error_code, row.open_ports, row.partial) == ("refused", "refused_scope", 0, None)
    assert TargetAddress.objects.filter(result=row).count() == 2


def test_an_address_that_the_operator_has_denied_since_refuses_the_target(settings):
    denied = (ip_network(f"{public(63)}/32"),)
    settings.SCANNER = replace(settings.SCANNER, scope=replace(settings.SCANNER.scope, deny=denied))
    with listening(public(63)) as port:
        row = resume(public(63), port=port)
    assert (row.state, row.error_code) == ("refused", "refused_scope")
    assert "SCAN_DENY_NETWORKS" in row.evidence["error"]["detail"]
