"""The pages that are checked, and what they state."""
from benchmarks.claims.results import ROOT
PAGES = ("README.md", "benchmarks/README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md")))
def statements(): return {}
