"""How long a principal is one."""

from __future__ import annotations

from ticker.access.principal import ANYONE, Principal


def test_a_principal_expires_at_its_time_and_anyone_never() -> None:
    assert not Principal("a", expires_s=100.0).has_expired(99.9)
    assert Principal("a", expires_s=100.0).has_expired(100.0)
    assert not ANYONE.has_expired(1e12)
