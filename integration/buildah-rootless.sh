#!/bin/bash
# The scenarios of buildah.sh as an ordinary user with subordinate ids.
set -eu
ROOTLESS=yes ENGINE=buildah-rootless exec "$(dirname "$(readlink -f "$0")")/buildah.sh"
