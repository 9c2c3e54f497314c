# Runs the same guest in all ways, in turn. Arguments: what runs and watches one of them, the number of rounds, and for each
# way its name and its command. Every second round counts what each step takes, the others are timed, and count nothing.
watch=$1 rounds=$2
shift 2
cd "$PVIR_PAYLOAD" || exit 1
ways=$(($# / 2))
export PVIR_COUNT PVIR_ASK
round=0
while [ "$round" -lt "$rounds" ]; do
    if [ $((round % 2)) -eq 0 ]; then PVIR_COUNT=exits PVIR_ASK=yes; else PVIR_COUNT=no PVIR_ASK=no; fi
    turn=0
    while [ "$turn" -lt "$ways" ]; do
        name=$1 command=$2
        case $name in pvir*) who=pvir ;; *) who=other ;; esac
        echo "@run $name $PVIR_COUNT"
        sh -c "$watch" sh "$who" "$command"
        shift 2
        set -- "$@" "$name" "$command"
        turn=$((turn + 1))
    done
    # the next time another one goes first
    name=$1 command=$2
    shift 2
    set -- "$@" "$name" "$command"
    round=$((round + 1))
done
