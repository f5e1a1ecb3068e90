# shellcheck shell=bash
# Source this from the project's root: later builds then take what they compiled before from ccache,
# if it is installed, also in another clone.
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_CUDA_COMPILER_LAUNCHER=ccache
  # Without these, ccache does not cache files that use a precompiled header.
  export CCACHE_SLOPPINESS=pch_defines,time_macros
  export CCACHE_BASEDIR=$PWD
fi
