#!/usr/bin/env bash
# The gateway over HTTP, with nothing but curl: a background is imported, asked for, recommended and deleted.
set -euo pipefail
cd "$(dirname "$0")/.."
gateway=${BACKDROP_HTTP:-http://127.0.0.1:50056}
library=$gateway/v1/libraries/curl-example

# A picture is a file of a form, or base64 in JSON; every other field is a part of its own.
curl --fail-with-body --silent --show-error -X PUT "$library/backgrounds/oak-table" \
    -F image=@samples/library/oak-table-sunny-apartment.jpg -F title='An oak table' -F keywords=oak -F keywords=kitchen
echo
curl --fail-with-body --silent --show-error "$library/backgrounds?pageSize=10"
echo
curl --fail-with-body --silent --show-error "$library/backgrounds/oak-table:image" --output /dev/null \
    --write-out 'picture: %{content_type}, %{size_download} bytes\n'
curl --fail-with-body --silent --show-error "$library:recommend" \
    -F image=@samples/products/coffee-mug.jpg -F limit=3 -F filters='[{"key": "keyword", "anyOf": ["oak"]}]'
echo
# Stage by stage, as server-sent events; without the header, as JSON lines.
curl --fail-with-body --silent --show-error --no-buffer "$library:recommendStream" -H 'Accept: text/event-stream' \
    -F image=@samples/products/coffee-mug.jpg | cut -c 1-120
# An error is a problem (RFC 9457) that names the field.
curl --silent "$library:recommend" -F image=@samples/products/coffee-mug.jpg -F limit=1000
echo
curl --fail-with-body --silent --show-error -X DELETE "$library/backgrounds/oak-table"
echo
