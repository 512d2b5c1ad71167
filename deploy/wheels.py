"""Downloads pinned wheels: through pip's own session, resumable, with a progress line and a checksum.

pip knows the user's index, proxy, certificates and credentials, and keeps what it fetches in its cache; what it
does not do is continue a broken download in the next run. A pinned pip is unpacked beside the wheels and asked
for its session, so that the parts of pip used here are the same whatever pip the machine has.
"""

import hashlib
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

PIP = "25.3"
PIP_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"
TARGET = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=none"]
TARGET += [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)] + ["--platform=manylinux2014_x86_64"]
CHUNK = 1 << 20
ATTEMPTS = 8


class DownloadError(Exception):
    """A sentence for the user: what could not be had, and why."""


@dataclass(frozen=True)
class Wheel:
    """One file of the package index, fixed by its checksum."""

    package: str
    version: str
    size: int
    sha256: str

    def __str__(self):
        return f"{self.package} {self.version}"


def fetch(wheels, folder):
    """Returns the path of each wheel in `folder`, downloading what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {wheel: folder / f"{wheel.package}-{wheel.version}.whl" for wheel in wheels}
    missing = [wheel for wheel, path in paths.items() if not path.exists()]
    if missing:
        sys.path.insert(0, str(unpacked_pip(folder)))
        from pip._internal.commands import create_command

        pip = create_command("download")
        options, _ = pip.parse_args(TARGET + ["--no-deps", "--dest", str(folder)])
        with pip.main_context():
            session = pip.get_default_session(options)
            for wheel in missing:
                partial = paths[wheel].with_suffix(".part")
                download(wheel, address(wheel, pip, options, session), session, partial)
                partial.rename(paths[wheel])
    return paths


def unpacked_pip(folder):
    """The pinned pip as a folder to import from; the machine's own pip fetches it."""
    place = folder / f"pip-{PIP}"
    if place.exists():
        return place
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(command + ["--dest", str(folder), f"pip=={PIP}"], capture_output=True, text=True)
    if done.returncode != 0:
        raise DownloadError(f"pip cannot download (it says: {done.stderr.strip()})")
    wheel = folder / f"pip-{PIP}-py3-none-any.whl"
    check(wheel, PIP_SHA256, f"pip {PIP}")
    unpacking = folder / "pip.unpacking"
    shutil.rmtree(unpacking, ignore_errors=True)
    zipfile.ZipFile(wheel).extractall(unpacking)
    unpacking.rename(place)
    wheel.unlink()
    return place


def address(wheel, pip, options, session):
    """Where the user's package index keeps this wheel."""
    from pip._internal.cli.cmdoptions import make_target_python
    from pip._vendor.packaging.specifiers import SpecifierSet

    finder = pip._build_package_finder(options, session, target_python=make_target_python(options))
    found = finder.find_best_candidate(wheel.package, SpecifierSet(f"=={wheel.version}")).best_candidate
    if found is None:
        raise DownloadError(f"the package index that pip uses has no {wheel} for Linux x86-64, or cannot be reached")
    return found.link.url_without_fragment


def download(wheel, url, session, partial):
    """Fills `partial`, continuing where an earlier run or a broken connection left off."""
    for attempt in range(ATTEMPTS):
        have = partial.stat().st_size if partial.exists() else 0
        if have >= wheel.size:
            break
        try:
            receive(wheel, url, session, partial, have)
        except OSError as error:
            if attempt + 1 == ATTEMPTS:
                raise DownloadError(f"{wheel}: {error}; the next run continues from here") from error
            print(f"\n{wheel}: {error}; trying again", file=sys.stderr)
            time.sleep(min(2**attempt, 15))
    try:
        check(partial, wheel.sha256, str(wheel))
    except DownloadError:
        partial.unlink()
        raise


def receive(wheel, url, session, partial, have):
    """One request: appends what the server sends, from byte `have` on where it can."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(url, headers=headers, stream=True) as response:
        response.raise_for_status()
        if response.status_code != 206:
            have = 0
        progress = Progress(wheel, have)
        with open(partial, "ab" if have else "wb") as out:
            for chunk in response.iter_content(CHUNK):
                out.write(chunk)
                have += len(chunk)
                progress.show(have)
    progress.end(have)
    if have < wheel.size:
        raise OSError(f"the connection ended at {have:,} of {wheel.size:,} bytes")


class Progress:
    """Percent, MB and MB/s: one line that moves on a terminal, a line every ten percent elsewhere."""

    def __init__(self, wheel, have):
        self.wheel, self.first, self.shown, self.began = wheel, have, have, time.monotonic()
        self.moves = sys.stderr.isatty()
        self.when = 0.0

    def show(self, have):
        now = time.monotonic()
        if self.moves and now - self.when > 0.2:
            self.when = now
            print(f"\r{self.line(have, now)}  ", end="", file=sys.stderr, flush=True)
        elif not self.moves and have - self.shown >= self.wheel.size / 10:
            self.shown = have
            print(self.line(have, now), file=sys.stderr, flush=True)

    def end(self, have):
        print(f"{chr(13) if self.moves else ''}{self.line(have, time.monotonic())}  ", file=sys.stderr, flush=True)

    def line(self, have, now):
        rate = (have - self.first) / 1e6 / max(now - self.began, 1e-3)
        percent = 100 * have // self.wheel.size
        return f"{self.wheel}: {percent:3d} %, {have / 1e6:.0f} of {self.wheel.size / 1e6:.0f} MB, {rate:.1f} MB/s"


def check(path, sha256, name):
    """Raises where the file is not, byte for byte, the pinned one."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise DownloadError(f"{name} has sha256 {digest.hexdigest()}, not the pinned {sha256}: it is not used")
