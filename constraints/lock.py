"""Write what this environment holds into the lock files, with the SHA-256 of every file that the registry has of each version.

`make lock` runs it. Three files come of it: what a stack installs, what only a CUDA build of torch needs beside it, and what
everything is installed and built with. uv resolves for all platforms at once, with the versions that are installed here, and
takes the hashes from the registry's index. It is put into a temporary environment. torch-cpu.txt is kept by hand: the builds of
torch for the CPU alone, which the registry does not have.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent
OLD = sys.version_info < (3, 13)
STACK = "3.11" if OLD else "3.13"
# What the lock files are for; their lines do not say it again.
BOUND = f"python_full_version < '{'3.13' if OLD else '3.15'}'"
SYSTEMS = "sys_platform == 'darwin' or sys_platform == 'linux'"
UV = "uv==0.13.9"
# What Linux' own torch needs, and PyTorch's builds for the CPU alone do not.
CUDA = re.compile(r"(cuda-|nvidia-(?!ml-py)|triton==)")


def run(*command: str | Path, given: str | None = None, folder: Path = PROJECT) -> str:
    """The standard output of a program that must succeed; its errors go to the terminal."""
    return subprocess.run(command, cwd=folder, input=given, stdout=subprocess.PIPE, text=True, check=True).stdout


def installed() -> list[str]:
    """`name==version` of all that is installed, without the project itself, pip, and the mark of a build for the CPU."""
    lines = run(sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable").splitlines()
    return [re.sub(r"\+cpu$", "", line) for line in lines if "==" in line and not line.startswith("pip==")]


def blocks(text: str) -> list[str]:
    """The requirements of a lock file, each with its lines of hashes."""
    return re.findall(r"^\S.*(?:\n[ ].*)*\n", text, flags=re.MULTILINE)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        run(folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
        compile_ = [folder / "venv" / "bin" / "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
        compile_ += ["--no-emit-index-url", "--no-annotate", "--no-header"]

        environments = [f"{BOUND} and {system}" for system in SYSTEMS.split(" or ")]
        project = (PROJECT / "pyproject.toml").read_text() + f"\n[tool.uv]\nenvironments = {environments}\n"
        (folder / "pyproject.toml").write_text(project)
        pins = installed()
        kept = [block.split()[0] for path in sorted(FOLDER.glob("python-*-cuda.txt")) for block in blocks(path.read_text())]
        names = {pin.partition("==")[0] for pin in pins}
        pins += [pin for pin in dict.fromkeys(kept) if pin.partition("==")[0] not in names]
        (folder / "pins").write_text("\n".join(pins))
        stack = ["--python-version", STACK, "--extra", "pipeline", "--group", "dev", "-c", "pins", "pyproject.toml"]
        text = run(*compile_, *stack, folder=folder)
        for known in (f" and ({SYSTEMS})", f"{BOUND} and ", f" ; ({SYSTEMS})", f" ; {SYSTEMS}", f" ; {BOUND}"):
            text = text.replace(known, "")

        tools = f"pip=={re.search(r'^PIP_VERSION := (.+)$', (PROJECT / 'Makefile').read_text(), re.MULTILINE)[1]}\n"
        tools += next(pin for pin in pins if pin.startswith("setuptools=="))
        build = run(*compile_, "--python-version", "3.11", "-", given=tools)

    requirements = blocks(text)
    for path, chosen in (
        (f"python-{STACK}.txt", [block for block in requirements if not CUDA.match(block)]),
        (f"python-{STACK}-cuda.txt", [block for block in requirements if CUDA.match(block)]),
        ("build.txt", blocks(build)),
    ):
        (FOLDER / path).write_text("".join(chosen))
        sys.stdout.write(f"{len(chosen):5} {path}\n")


if __name__ == "__main__":
    main()
