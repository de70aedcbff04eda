"""What all answers of one configuration are made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs import metrics
    from hmacfs.app.routing import Router
    from hmacfs.config.settings import Settings
    from hmacfs.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """One configuration, and the store and the counters that outlive it."""

    settings: Settings
    router: Router
    store: Store
    row: metrics.CounterRow
    now: Callable[[], float]
    """The wall clock."""
