#!/usr/bin/env bash
# Waits for AWS's notice that this spot instance will be taken in two minutes, then becomes the command it was given:
#   spot-watch.sh python -m grok_sweeps.cluster.leave_node
# Asks the instance's metadata service (IMDSv2) every SPOT_POLL_S seconds. Without one it waits for ever.
set -euo pipefail
imds=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}

ask() { wget --quiet --tries=1 --timeout=2 --output-document=- "$@"; }

notice() {
    local token
    token=$(ask --method=PUT --header='X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds/latest/api/token") || return
    # 404 until there is one.
    ask --header="X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/spot/instance-action"
}

until notice; do
    sleep "${SPOT_POLL_S:-5}"
done
exec "$@"
