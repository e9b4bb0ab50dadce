"""Builds the one compiled module, ``elevon._native``; everything else is in pyproject.toml.

Environment: ELEVON_WERROR=1 makes warnings errors (continuous integration does),
ELEVON_BUILD_JOBS bounds the parallel compilations (0: all cores), ELEVON_BUILD_NATIVE=0 installs
the package without its compiled module (scripts/lib.sh compiles it in place instead, once for all
environments and only what has changed), and ELEVON_SANITIZE=1 builds the module for
scripts/sanitize: with the address and undefined-behaviour sanitizers, not optimised.
"""

import os
import sysconfig
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# No -march=native: a wheel runs on every x86-64 and aarch64 machine, so a kernel that wants
# wider vectors selects its code at run time (target attributes, see cpp/kernel).
FLAGS = ["-O3", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
FLAGS.append("-MMD")  # lists the headers that a source includes: see needs_recompile
if os.environ.get("ELEVON_WERROR") == "1":
    FLAGS.append("-Werror")
LINK_FLAGS = ["-pthread"]
if os.environ.get("ELEVON_SANITIZE") == "1":
    SANITIZERS = "-fsanitize=address,undefined"
    # The last -O counts. Unoptimised code is compiled in half the time, and traps as well.
    FLAGS += [SANITIZERS, "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O0"]
    LINK_FLAGS.append(SANITIZERS)
# As system headers: their shadowed names are not our warnings.
FLAGS += [f"-isystem{path}" for path in (pybind11.get_include(), sysconfig.get_path("include"))]

# The bindings are compiled as one source, which includes the others.
SOURCES = ["cpp/bindings/all.cpp"]
SOURCES += sorted(
    str(path) for path in Path("cpp").rglob("*.cpp") if not {"bindings", "tests"} & set(path.parts)
)


def needs_recompile(object_file: str, source: str) -> bool:
    """Whether the source, or a header that it included last time, is newer than its object."""
    listed = Path(object_file).with_suffix(".d")
    if not listed.exists():
        return True
    built = Path(object_file).stat().st_mtime
    read = [Path(name) for name in listed.read_text().replace("\\\n", " ").split()[1:]]
    return not all(path.exists() and path.stat().st_mtime <= built for path in read)


def native() -> Pybind11Extension:
    """The compiled module."""
    return Pybind11Extension(
        "elevon._native",
        SOURCES,
        include_dirs=["cpp"],
        depends=sorted(str(path) for path in Path("cpp").rglob("*.hpp")),
        cxx_std=20,
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
    )


ParallelCompile("ELEVON_BUILD_JOBS", needs_recompile=needs_recompile).install()

setup(
    ext_modules=[native()] if os.environ.get("ELEVON_BUILD_NATIVE") != "0" else [],
    cmdclass={"build_ext": build_ext},
)
