"""Breaks one rule at a time in a scratch copy of what is committed, and prints the first seed that finds it.

    python3 tests/simulation/mutations.py [NAME...]

Each patch breaks its rule only where `is_mutated` says so: one optimised build serves for all, and `MUTATION` names the rule.
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = pathlib.Path(__file__).resolve().parent / "mutations"
SCRATCH = ROOT / "target" / "mutations" / "checkout"
# Its own folder: Cargo mistakes two checkouts that build into one folder for the same.
BUILD = ROOT / "target" / "mutations" / "build"
SEEDS = int(os.environ.get("SEEDS") or 200)
CARGO = os.environ.get("CARGO") or "cargo"
COMMAND = [CARGO, "test", "--release", "--locked", "--package", "tests", "--test", "simulation"]
ENVIRONMENT = {**os.environ, "CARGO_TARGET_DIR": str(BUILD), "SIMULATE_FIRST": "1", "SIMULATE_SEEDS": str(SEEDS)}
SWITCH = """
/// Returns whether the rule of this name is broken.
pub fn is_mutated(name: &str) -> bool {
    static MUTATION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    MUTATION.get_or_init(|| std::env::var("MUTATION").unwrap_or_default()) == name
}
"""


def git(*arguments, cwd=SCRATCH):
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True)


def copy():
    """Checks out what is committed, apart from the working tree, and adds all mutations."""
    if not (SCRATCH / ".git").exists():
        git("worktree", "add", "--force", "--detach", str(SCRATCH), "HEAD", cwd=ROOT)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    git("reset", "--hard", head.stdout.strip())
    for patch in sorted(PATCHES.glob("*.patch")):
        git("apply", "-C1", str(patch))
    with (SCRATCH / "shared" / "domain" / "src" / "lib.rs").open("a") as file:
        file.write(SWITCH)


def simulate(name):
    """Runs the simulation with one rule broken. Returns the first seed that failed, if one did."""
    environment = {**ENVIRONMENT, "MUTATION": name}
    ran = subprocess.run(
        [*COMMAND, "nothing_is_lost"], cwd=SCRATCH, env=environment, capture_output=True, text=True
    )
    failed = [int(seed) for seed in re.findall(r"^seed (\d+) \(", ran.stdout + ran.stderr, re.MULTILINE)]
    if ran.returncode != 0 and not failed:
        sys.exit((ran.stdout + ran.stderr)[-3000:])
    return min(failed, default=None)


def main():
    names = sys.argv[1:] or sorted(path.stem for path in PATCHES.glob("*.patch"))
    copy()
    subprocess.run([*COMMAND, "--no-run"], cwd=SCRATCH, env=ENVIRONMENT, check=True)
    print("| what is broken | first seed that finds it |\n| --- | --- |", flush=True)
    not_found = []
    for name in names:
        seed = simulate(name)
        print(f"| {name} | {seed or f'not found in {SEEDS}'} |", flush=True)
        if not seed:
            not_found.append(name)
    git("worktree", "remove", "--force", str(SCRATCH), cwd=ROOT)
    sys.exit(f"not found: {', '.join(not_found)}" if not_found else 0)


if __name__ == "__main__":
    main()
