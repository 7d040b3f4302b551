# Bash completion of palimpsest: commands, and the flags that `palimpsest COMMAND --help` lists.
_palimpsest()
{
    local word=${COMP_WORDS[COMP_CWORD]}
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "train generate tokenize inspect ablate convert check --help --version" -- "$word"))
    elif [ "${word#-}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$(palimpsest "${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -e '--[a-z][a-z-]*')" -- "$word"))
    fi
}
complete -o default -F _palimpsest palimpsest
