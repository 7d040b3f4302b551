# enums.awk - finds values of enums in headers without a comment, which doxygen does not complain about. A value has its
# comment behind it, one value a line; an enum on a line of its own has one before or behind. Status 1 if there are any.
function fault() { printf "%s:%d: error: enum value without a comment:%s\n", FILENAME, FNR, $0 > "/dev/stderr"; bad = 1 }
/^(typedef )?enum.*}/ { if (!/\/\*/ && last !~ /\*\/$/) fault() }
/^(typedef )?enum.*{$/ { inside = 1; next }
inside && /^}/ { inside = 0 }
inside && /^ *PAL_/ { if (!/\/\*/ || /PAL_.*, *PAL_.*\/\*/) fault() }
{ last = $0 }
END { exit bad }
