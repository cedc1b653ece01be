"""The commands of the README, as a new user types them."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(section, language=""):
    """Code blocks of a section of the README."""
    text = README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [
        code for kind, code in re.findall(r"```(\w*)\n(.*?)```", text, re.S) if kind == language
    ]


def test_install_demo_command_and_snippet_run_as_printed_in_a_new_shell():
    (install,) = blocks("Install")
    shown, command = blocks("The demo")
    (snippet,) = blocks("The demo", "python")
    with tempfile.TemporaryDirectory(prefix="bwm-test-") as folder:
        Path(folder).chmod(0o711)  # as root, the embedded server runs as another user
        clone = Path(folder) / "bwm-datajoint"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BWM_", "DJ_", "VIRTUAL"))}
        environment = kept | {"BWM_HOME": f"{folder}/home", "PYTHON": sys.executable}
        script = f"set -e\n{install}{command}python - <<'END'\n{snippet}END\n"
        try:
            run = subprocess.run(
                ["bash", "-c", script],
                cwd=clone,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            stop = [f"{clone}/.venv/bin/bwm", "server", "stop"]
            subprocess.run(stop, env=environment, check=False, capture_output=True)
    assert run.returncode == 0, run.stderr[-3000:]
    printed = " ".join(run.stdout.split())  # long titles are broken into lines
    for line in shown.splitlines():
        if line.strip() != "...":
            assert " ".join(line.split()) in printed, line
    assert "good units of ibl_2022" in run.stdout
    assert re.search(r"^ACB +7\.23", run.stdout, re.M), "the snippet printed no rates"
    assert re.search(r"thalamus|PO |LP ", run.stdout), "the command printed no units"
