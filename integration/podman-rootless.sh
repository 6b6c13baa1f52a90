#!/bin/bash
# The scenarios of podman.sh as an ordinary user with subordinate ids.
set -eu
ROOTLESS=yes ENGINE=podman-rootless exec "$(dirname "$(readlink -f "$0")")/podman.sh"
