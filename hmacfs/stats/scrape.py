"""One scrape of a running server: an address in, samples by name and labels out."""

from __future__ import annotations

import http.client
import math
import socket
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

from hmacfs.config import addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S: Final = 5.0
"""How long the server may take to accept, and between two parts of its answer."""


class Unreachable(Exception):  # noqa: N818 - its text is a whole sentence for the operator
    """No server gives metrics there; the text says why."""


class Scrape:
    """The samples of one moment, or what they grew by between two."""

    def __init__(self, samples: Mapping[str, Mapping[frozenset[tuple[str, str]], float]]) -> None:
        """Hold `samples`, by name and then by labels."""
        self._samples = samples

    def find(self, name: str) -> float | None:
        """Return the sum of the name's samples; None if there are none."""
        found = self._samples.get(name)
        return sum(found.values()) if found else None

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels, 0 if there are none."""
        return sum(n for has, n in self._samples.get(name, {}).items() if has >= labels.items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the samples by the value of one label."""
        return {dict(has)[label]: n for has, n in self._samples.get(name, {}).items()}

    def buckets(self, name: str) -> list[tuple[float, float]]:
        """Return a histogram's upper bounds, rising to infinity, and how many lie at or below each."""
        return sorted((float(bound), n) for bound, n in self.by(f"{name}_bucket", "le").items())

    def since(self, before: Scrape) -> Scrape:
        """Return what each counter grew by; one that shrank began anew with its server."""
        grown: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for name, samples in self._samples.items():
            old = before._samples.get(name, {})
            grown[name] = {
                has: n - old.get(has, 0) if n >= old.get(has, 0) else n for has, n in samples.items()
            }
        return Scrape(grown)


def parse(text: str) -> Scrape:
    """Read Prometheus' text format. Raises ValueError."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if math.isfinite(sample.value):
                samples[sample.name][frozenset(sample.labels.items())] = sample.value
    return Scrape(samples)


class _Connection(http.client.HTTPConnection):
    """HTTP to an address as the configuration writes it; a unix socket has no host."""

    def __init__(self, address: addresses.Address) -> None:
        self._address = address
        # "" is every address of this machine, of which this is one.
        host, port = ("localhost", None) if isinstance(address, addresses.Unix) else address
        super().__init__(host or "127.0.0.1", port, timeout=TIMEOUT_S)

    def connect(self) -> None:
        if not isinstance(self._address, addresses.Unix):
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._address.path)


def fetch(address: str) -> Scrape:
    """Ask the operators' listener at `address`, written as in the configuration. Raises Unreachable."""
    connection = _Connection(addresses.parse(address))
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != http.client.OK:
            raise Unreachable(f"{address} answers {answer.status} where metrics should be")
        scrape = parse(text)
    except (OSError, http.client.HTTPException) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreachable(f"no server gives metrics on {address}: {words}") from error
    except ValueError as error:
        raise Unreachable(f"what {address} gives are no metrics: {error}") from error
    finally:
        connection.close()
    if scrape.find("hmacfs_connections") is None:
        raise Unreachable(f"what {address} gives are the metrics of something else")
    return scrape
