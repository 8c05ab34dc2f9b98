"""Breaks one invariant at a time in a scratch copy of what is committed, and prints the first seed that finds it.

    python3 tests/simulation/mutations.py [NAME...]
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = pathlib.Path(__file__).resolve().parent / "mutations"
SCRATCH = ROOT / "target" / "mutations" / "checkout"
BUILD = ROOT / "target" / "mutations" / "build"
SEEDS = int(os.environ.get("SEEDS") or 200)


def git(*arguments, cwd=SCRATCH):
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True)


def copy():
    """Checks out what is committed, apart from the working tree."""
    if not (SCRATCH / ".git").exists():
        git("worktree", "add", "--force", "--detach", str(SCRATCH), "HEAD", cwd=ROOT)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    git("reset", "--hard", head.stdout.strip())


def simulate():
    """Runs the simulation on the copy. Returns whether it was built, and the first seed that failed, if one did."""
    # Its own folder: Cargo mistakes two checkouts that build into one folder for the same.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILD), "SIMULATE_FIRST": "1"}
    command = [os.environ.get("CARGO") or "cargo", "test", "--locked", "--package", "tests", "--test", "simulation"]
    built = subprocess.run([*command, "--no-run"], cwd=SCRATCH, env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        print(built.stderr[-3000:], file=sys.stderr)
        return False, None
    ran = subprocess.run(
        [*command, "nothing_is_lost"],
        cwd=SCRATCH,
        env={**environment, "SIMULATE_SEEDS": str(SEEDS)},
        capture_output=True,
        text=True,
    )
    failed = [int(seed) for seed in re.findall(r"^seed (\d+) \(", ran.stdout + ran.stderr, re.MULTILINE)]
    if ran.returncode != 0 and not failed:
        print((ran.stdout + ran.stderr)[-3000:], file=sys.stderr)
        return False, None
    return True, min(failed, default=None)


def main():
    names = sys.argv[1:] or sorted(path.stem for path in PATCHES.glob("*.patch"))
    print("| what is broken | first seed that finds it |\n| --- | --- |", flush=True)
    not_found = []
    for name in names:
        copy()
        git("apply", "-C1", str(PATCHES / f"{name}.patch"))
        built, seed = simulate()
        found = "not built" if not built else seed or f"not found in {SEEDS}"
        print(f"| {name} | {found} |", flush=True)
        if not seed:
            not_found.append(name)
    git("worktree", "remove", "--force", str(SCRATCH), cwd=ROOT)
    sys.exit(f"not found: {', '.join(not_found)}" if not_found else 0)


if __name__ == "__main__":
    main()
