"""The engines that the node can run: name in the stack file → adapter. A new one is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.node.engines.engine import Engine
from penstock.node.engines.llama_cpp import LlamaCpp

ENGINES: Mapping[str, Engine] = {"llama.cpp": LlamaCpp()}
