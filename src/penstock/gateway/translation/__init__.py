"""From a client's dialect to an upstream's and back. Adding a pair: a module here, a line in `TRANSLATIONS`, a test."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.gateway.translation.translation import Translation
from penstock.types.dialect import Dialect

TRANSLATIONS: Mapping[tuple[Dialect, Dialect], type[Translation]] = {}
"""By the client's dialect and the upstream's."""
