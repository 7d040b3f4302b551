#!/bin/sh
# manual.sh - makes manual pages of what the programs' --help says: manual.sh palimpsest palimpsest-train ...
#
# help2man runs a program of one word, so each command gets a script of its own.
set -eu
command -v help2man >/dev/null || {
    echo "make man: help2man is missing; Debian's package has the same name" >&2
    exit 1
}
bin=$(cd "$B/examples" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in "$@"; do
    command=$(echo "$name" | sed -n 's/^palimpsest-//p')
    says=$("$bin/palimpsest" --help | sed -n "s/^  ${command:-palimpsest}  *//p")
    printf '#!/bin/sh\nexec "%s/palimpsest" %s "$@"\n' "$bin" "$command" >"$work/$name"
    chmod +x "$work/$name"
    cat >"$work/more" <<END
[SEE ALSO]
.BR palimpsest (1)
and the pages of its commands, such as
.BR palimpsest-train (1).
END
    LC_ALL=C.UTF-8 help2man --no-info --no-discard-stderr --section=1 --source="palimpsest $VERSION" --version-string="$VERSION" \
        --name="${says:-language models with linear attention: train, take apart, look inside}" --include="$work/more" \
        "$work/$name" >"$B/man/$name.1.tmp"
    mv "$B/man/$name.1.tmp" "$B/man/$name.1"
done
