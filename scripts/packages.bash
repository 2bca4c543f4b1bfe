# Sourced by quickstart and check: installs Debian packages, printing each command before it runs it.

build_packages=(g++ cmake ninja-build libboost-dev doctest-dev libcli11-dev nlohmann-json3-dev libzip-dev
                librandom123-dev libssl-dev libeigen3-dev libopenblas0-pthread)
check_packages=(clang lld libclang-rt-dev libomp-dev clang-format pkgconf python3 python3-dev python3-venv
                ccache)
data_packages=(python3 python3-venv)

announce() {
  echo "+ $*"
  "$@"
}

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || echo "$package"
  done
}

install_packages() {
  local missing as_root=(env DEBIAN_FRONTEND=noninteractive)
  command -v dpkg-query >/dev/null || { echo "no apt here: install what Debian calls $*, then run this again" >&2; exit 1; }
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "please run as root: apt-get install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo "${as_root[@]}")
  fi
  announce "${as_root[@]}" apt-get update -qq
  announce "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
}

# Another clone of the same sources finds what this one compiled. Paths are taken as of this folder; precompiled headers need
# the sloppiness that ccache's manual names for them; nvcc's work is found by its dependency file.
cache_compilations() {
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
  export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
  export CMAKE_CUDA_COMPILER_LAUNCHER='env;CCACHE_DEPEND=1;ccache'
}

# machine_code [all]: CMake's option. Where no GPU would run it, only the machine code that tests look into; a plain
# `cmake -B` builds all.
machine_code() {
  if [ -e /dev/nvidiactl ] || [ "${1:-}" = all ]; then echo -DNVFP4_GPU_MACHINE_CODE=all
  else echo -DNVFP4_GPU_MACHINE_CODE=some; fi
}

# disassembler FOLDER: NVIDIA's cuobjdump and nvdisasm, of PyPI, into a virtual environment there. Without a network what
# needs them is not run. Its wheels begin at 13.2 and read what older compilers made.
disassembler() {
  ! compgen -G "$1/lib/python3*/site-packages/nvidia/cu13/bin/nvdisasm" >/dev/null || return 0
  announce python3 -m venv "$1"
  announce "$1/bin/pip" install -q --disable-pip-version-check 'nvidia-cuda-cuobjdump==13.2.*' \
    'nvidia-cuda-nvdisasm==13.2.*' || echo "no cuobjdump and nvdisasm from PyPI" >&2
}
