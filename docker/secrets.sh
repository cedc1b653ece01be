#!/usr/bin/env bash
# Write a random secret into each missing file of secrets/. Other accounts of this machine cannot
# enter the folder. The files are readable to all, since containers run under other accounts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

install -d -m 700 secrets
for name in db_root db_admin db_bwm db_reader {notebook,viewer}_token store_root store_{,reader_}{access,secret}_key; do
  if [[ ! -s secrets/$name ]]; then
    head -c 20 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >secrets/$name
    chmod 444 secrets/$name
  fi
done
echo "secrets are in $PWD/secrets"
