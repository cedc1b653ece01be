#!/usr/bin/env bash
# Write a secret by chance into each file of secrets/ that is not there yet. The folder is closed to
# other accounts of this machine; the files are not, because the accounts of containers are others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

install -d -m 700 secrets
for name in db_root db_bwm db_reader notebook_token store_access_key store_secret_key; do
  if [[ ! -s secrets/$name ]]; then
    head -c 20 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >secrets/$name
    chmod 444 secrets/$name
  fi
done
echo "secrets are in $PWD/secrets"
