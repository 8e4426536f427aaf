# SPDX-License-Identifier: Apache-2.0
# Sourced: tell OpenBLAS what kind of processor it is on. It takes one that is newer than itself for one of
# 2004 and then multiplies at a quarter of the speed, which is no measure and no peer.
if [ -z "${OPENBLAS_CORETYPE:-}" ] && grep -qw avx512f /proc/cpuinfo; then
    export OPENBLAS_CORETYPE=SkylakeX
fi
