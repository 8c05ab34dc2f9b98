"""Two published generators make clients of docs/openapi.json that compile, and that a caller can use."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs" / "openapi.json"
TOOLS = ROOT / "target" / "tools" / "openapi"
SCRIPTS = pathlib.Path(sys.executable).parent
NODE = TOOLS / "node_modules" / ".bin"


def run(*command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_typescript_client_compiles(tmp_path):
    os.symlink(TOOLS / "node_modules", tmp_path / "node_modules")
    shutil.copy(HERE / "client.ts", tmp_path)
    run(NODE / "openapi-typescript", DOCUMENT, "--output", tmp_path / "schema.d.ts")
    run(NODE / "tsc", *"--strict --noEmit --target es2022 --module preserve client.ts".split(), cwd=tmp_path)


def test_a_python_client_compiles(tmp_path):
    # No formatter is run on it.
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    run(
        SCRIPTS / "openapi-python-client",
        "generate",
        f"--path={DOCUMENT}",
        f"--output-path={tmp_path / 'client'}",
        f"--config={tmp_path / 'config.yaml'}",
        "--fail-on-warning",
    )
    shutil.copy(HERE / "client.py", tmp_path / "client")
    run(sys.executable, "-m", "compileall", "-q", "medic_client", cwd=tmp_path / "client")
    run(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "client.py", cwd=tmp_path / "client")
    run(sys.executable, "client.py", cwd=tmp_path / "client")
