"""Builds the one compiled module, ``elevon._native``; everything else is in pyproject.toml."""

import os
import sysconfig
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# No -march=native: a wheel runs on every x86-64 and aarch64 machine, so a kernel that wants
# wider vectors selects its code at run time (target attributes, see cpp/kernel).
FLAGS = ["-O3", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
if os.environ.get("ELEVON_WERROR") == "1":
    FLAGS.append("-Werror")
# As system headers: their shadowed names are not our warnings.
FLAGS += [f"-isystem{path}" for path in (pybind11.get_include(), sysconfig.get_path("include"))]

ParallelCompile("ELEVON_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "elevon._native",
            sorted(str(path) for path in Path("cpp").rglob("*.cpp") if "tests" not in path.parts),
            include_dirs=["cpp"],
            depends=sorted(str(path) for path in Path("cpp").rglob("*.hpp")),
            cxx_std=20,
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
        )
    ],
    cmdclass={"build_ext": build_ext},
)
