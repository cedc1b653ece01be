#!/bin/sh
# Create the bucket of BWM_STORE on the server `minio`, keys of workers that read and write it, and
# keys of notebooks that only read it. It can be run again.
set -eu
name=${BWM_STORE#*\"bucket\": \"}
bucket=${name%%\"*}
secret() { cat "/run/secrets/$1"; }

# allow POLICY KEYS ACTIONS: let a pair of keys list the bucket, and do ACTIONS with its objects.
allow() {
  key=$(secret "$2_access_key")
  cat >"/tmp/$1.json" <<S
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Resource": ["arn:aws:s3:::$bucket"],
   "Action": ["s3:GetBucketLocation", "s3:ListBucket"]},
  {"Effect": "Allow", "Resource": ["arn:aws:s3:::$bucket/*"], "Action": [$3]}]}
S
  mc admin policy create store "$1" "/tmp/$1.json"
  mc admin user add store "$key" "$(secret "$2_secret_key")"
  mc admin policy detach store "$1" --user "$key" || true # attaching it twice is an error
  mc admin policy attach store "$1" --user "$key"
}

n=0
until mc alias set store http://minio:9000 root "$(secret store_root)"; do
  n=$((n + 1))
  [ "$n" -lt 60 ] || exit 1
  sleep 1
done
mc mb --ignore-existing "store/$bucket"
allow writes store '"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"'
allow reads store_reader '"s3:GetObject"'
