"""The README quotes figures only as the benchmark has written them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_readme_has_the_table_of_the_last_benchmark() -> None:
    assert (ROOT / "bench/results/readme.md").read_text().strip() in (ROOT / "README.md").read_text()
