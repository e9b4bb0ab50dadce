# shellcheck shell=bash
# Environments for scripts/{demo,check,test}: sourced by them, after which the working directory is
# the repository's root. Nothing here reads standard input; messages go to standard error.
#
# An environment is a virtual environment with the package in editable mode. Its stamp names what
# it was made from, so a second call costs a few hashes. The compiled module lies in elevon/ and
# serves all environments of one Python version; only what has changed is compiled again.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

# Processes that must not outlive this script: a compilation, what run_beside and limited started.
COMPILING='' BESIDE='' LIMITED=''
# A line for each part that ended: "passed" or "FAILED", and what. Parts that run beside write here.
RESULTS=$(mktemp)
trap end_run EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

INSTALL_LIMIT_S=900
BUILD_LIMIT_S=1800

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# quiet LIMIT_S COMMAND...   Runs the command within the limit; shows its output only if it fails.
quiet() {
  local limit=$1 log status=0
  shift
  log=$(mktemp)
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log" >&2
    say "failed (status $status): $*"
  fi
  rm -f "$log"
  return "$status"
}

# limited LIMIT_S COMMAND...   The command in a process group of its own, which ends at the limit, or
# when this script is interrupted: a shell hears of that only while it waits for a job.
limited() {
  local status=0
  set -m  # else a job would ignore interrupts, and all that it starts as well
  timeout --kill-after=30 "$@" &
  set +m
  LIMITED=$!
  wait "$LIMITED" || status=$?
  LIMITED=''
  return "$status"
}

# fetch COMMAND...   Three tries for what depends on a network.
fetch() {
  quiet "$INSTALL_LIMIT_S" "$@" || quiet "$INSTALL_LIMIT_S" "$@" || quiet "$INSTALL_LIMIT_S" "$@"
}

end_run() {
  local pid
  for pid in $COMPILING $BESIDE $LIMITED; do
    family "$pid" | xargs -r kill 2>/dev/null || true
  done
  rm -f "$RESULTS" "${BESIDE_LOG:-}"
}

# family PID   The numbers of the process and all below it, children first.
family() {
  local child children
  read -ra children < <(cat /proc/"$1"/task/*/children 2>/dev/null | tr '\n' ' ') || true
  for child in "${children[@]}"; do family "$child"; done
  printf '%s\n' "$1"
}

# --- Debian packages -----------------------------------------------------------------------------

# "package: command that succeeds where it is there already".
# shellcheck disable=SC2016  # the commands are expanded when they are run
DEBIAN_BUILD=(
  'g++: command -v c++'
  'python3-dev: python_has_headers'
  'python3-venv: "$PYTHON" -c "import ensurepip"'
)
# What only tests need: the NAT laboratory, and a Redis that each test starts for itself.
# shellcheck disable=SC2034  # read by scripts/test
DEBIAN_TEST=(
  'iproute2: command -v ip'
  'nftables: command -v nft'
  'procps: command -v sysctl'
  'redis-server: command -v redis-server'
)

python_has_headers() {
  "$PYTHON" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

# need_debian "package: check"...   Installs what is missing as root; else says what to install.
need_debian() {
  local entry missing=()
  for entry in "$@"; do
    (eval "${entry#*: }") >/dev/null 2>&1 || missing+=("${entry%%: *}")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "missing: ${missing[*]} (on Debian: sudo apt-get install ${missing[*]})"
  fi
  say "installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  fetch apt-get update
  fetch apt-get install -y --no-install-recommends "${missing[@]}"
}

# --- Python --------------------------------------------------------------------------------------

# Sets PYTHON: ELEVON_PYTHON where given, otherwise the first supported one, 3.11 before others.
find_python() {
  local name
  for name in ${ELEVON_PYTHON:-python3.11 python3.12 python3.13 python3.10 python3}; do
    PYTHON=$(command -v "$name") || continue
    if "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; then
      # Where an environment is active its Python is found first: what it was made from is the base,
      # or the environment would be made anew out of itself.
      PYTHON=$("$PYTHON" -c 'import sys; print(sys._base_executable)')
      export ELEVON_PYTHON=$PYTHON
      return
    fi
  done
  die "no Python 3.10 to 3.13 (on Debian: apt-get install python3 python3-dev python3-venv)"
}

# --- Environments --------------------------------------------------------------------------------

# ensure_env DIRECTORY EXTRA...   Makes or updates the environment and the compiled module.
ensure_env() {
  find_python
  need_debian "${DEBIAN_BUILD[@]}"
  mkdir -p build
  # Two scripts in one checkout take turns. The kernel drops the lock with its holder.
  exec 9>build/environment.lock
  flock -w "$BUILD_LIMIT_S" 9 || die "another set-up holds build/environment.lock"
  ensure_interpreter "$1" 9>&-
  # Packages come over a network meanwhile. Of them the compilation needs what is there already.
  ensure_native "$1" 9>&- &
  COMPILING=$!
  ensure_packages "$@" 9>&-
  wait "$COMPILING" || exit 1
  COMPILING=''
  exec 9>&-
}

# ensure_interpreter ENVIRONMENT   An environment of this interpreter with what compiles the module.
ensure_interpreter() {
  local env=$1 stamp=$1/elevon.stamp base requirements
  base="$PWD $("$PYTHON" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
  if [ -f "$stamp" ] && [ "$(sed -n 1p "$stamp")" = "$base" ]; then return; fi
  say "making $env"
  "$PYTHON" -m venv --clear "$env"
  mapfile -t requirements < <(sed -n 's/^build = \[\(.*\)\]$/\1/p' pyproject.toml |
    tr ',' '\n' | tr -d '" ')
  fetch "$env/bin/python" -m pip install --no-input --disable-pip-version-check "${requirements[@]}"
  printf '%s\n' "$base" "no packages yet" build >"$stamp"
}

# ensure_packages ENVIRONMENT EXTRA...   A stamp's lines: the interpreter and place, the hash of
# pyproject.toml, the extras.
ensure_packages() {
  local env=$1 stamp=$1/elevon.stamp base hash had extras
  shift
  base=$(sed -n 1p "$stamp")
  hash=$(sha256sum <pyproject.toml)
  had=$(sed -n 3p "$stamp")
  # Extras add up, so that scripts/demo after scripts/test changes nothing.
  extras=$(printf '%s\n' "${had// /$'\n'}" "$@" | sort -u | paste -sd' ')
  if [ "$extras" = "$had" ] && [ "$(sed -n 2p "$stamp")" = "$hash" ]; then return; fi
  say "installing packages into $env: $extras"
  rm -f "$stamp"
  # ensure_native compiles, for all environments at once.
  fetch env ELEVON_BUILD_NATIVE=0 "$env/bin/python" -m pip install --no-input \
    --disable-pip-version-check --editable ".[${extras// /,}]"
  printf '%s\n' "$base" "$hash" "$extras" >"$stamp"
}

# ensure_native ENVIRONMENT   Compiles the module in place unless its sources are unchanged.
ensure_native() {
  local python=$1/bin/python module stamp key strict=''
  # Objects made with warnings allowed would hide them, so strict builds have their own. What a
  # strict build made will do for everybody.
  if [ "${ELEVON_WERROR:-}" = 1 ]; then strict=-strict; fi
  module=elevon/_native$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
  stamp=build/$(basename "$module").stamp
  key=$(find setup.py cpp -type f \( -name '*.py' -o -name '*.[ch]pp' \) -print0 |
    sort -z | xargs -0 sha256sum | sha256sum)
  if [ -f "$module" ] && [ -f "$stamp" ]; then
    case "$(<"$stamp")" in "$key-strict" | "$key$strict") return ;; esac
  fi
  say "compiling $module"
  quiet "$BUILD_LIMIT_S" "$python" setup.py build_ext --inplace --force \
    --build-temp "build/$(basename "$module" .so)$strict" || die "$module does not compile"
  printf '%s\n' "$key$strict" >"$stamp"
}

# --- Parts of a run ------------------------------------------------------------------------------

# part NAME COMMAND...   Runs one part of a script. What fails is told by verdict, and the rest runs.
part() {
  local name=$1 began=$SECONDS status=0 outcome=passed
  shift
  say "== $name"
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then outcome="FAILED (status $status)"; fi
  say "== $name: $outcome in $((SECONDS - began)) s"
  printf '%s: %s, %d s\n' "$outcome" "$name" $((SECONDS - began)) >>"$RESULTS"
}

# run_beside FUNCTION   Runs parts that only compute beside those that mostly wait; from give_way on
# they get less of the cores, so that the others' limits of time hold. wait_beside shows their output.
run_beside() {
  BESIDE_LOG=$(mktemp)
  set -m  # as in limited
  (
    set +m
    "$@"
  ) >"$BESIDE_LOG" 2>&1 &
  set +m
  BESIDE=$!
}

# A quarter of a core that others want: a busy machine must not starve what runs beside.
give_way() { renice -n 5 -p "$BASHPID" >/dev/null; }

wait_beside() {
  local status=0
  say "== waiting for the parts that run beside"
  # Nobody is left to give way to. Not every user may say so.
  family "$BESIDE" | xargs -r renice -n 0 -p >/dev/null 2>&1 || true
  wait "$BESIDE" || status=$?
  BESIDE=''
  cat "$BESIDE_LOG" >&2
  if [ "$status" -ne 0 ]; then printf 'FAILED (status %s): parts beside\n' "$status" >>"$RESULTS"; fi
}

# verdict   Says how each part ended, and fails if any failed.
verdict() {
  say "== all parts, in the order they ended"
  cat "$RESULTS" >&2
  ! grep -q '^FAILED' "$RESULTS"
}
