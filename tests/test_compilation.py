import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_place_where_nothing_can_be_written_compiles_in_memory(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from torchmetrics_sess.compilation import compiled\n"
        "@compiled\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "print(double(21))\n"
    )
    # Files where numba would have its folders: unlike permissions, these stop the superuser too.
    (tmp_path / "__pycache__").touch()
    blocked = tmp_path / "blocked"
    blocked.touch()
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(module)], env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "42\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["__pycache__", "blocked", "module.py"]
