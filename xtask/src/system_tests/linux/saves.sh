# Runs a Linux guest and has it go on in a new process whenever it asks. The first argument is the kernel's command line, the
# others are those of pvir for each of these processes. What pvir says to `pvir save` is told, at first without the word
# that lets the card be reset.
command_line=$1
shift
mkfifo /tmp/in
: >/tmp/out
exec 3<>/tmp/in
pvir run "$@" --append "$command_line" --device "vfio=$PVIR_DEVICES" --initrd "$PVIR_INITRD" "$PVIR_LINUX" \
    </tmp/in >>/tmp/out 2>>/tmp/err &
vm=$!
answered=0
printed=0
show() {
    # as a sign of life
    now=$(wc -l </tmp/out)
    # of an empty range sed prints the first line, if it has come meanwhile
    [ "$now" -gt "$printed" ] || return 0
    sed -n "$((printed + 1)),${now}p" /tmp/out
    printed=$now
}
while kill -0 $vm 2>/dev/null; do
    if [ "$(grep -c '^@guest asks' /tmp/out)" -gt "$answered" ]; then
        answered=$((answered + 1))
        refused=$(pvir save /tmp/refused $vm 2>&1 </dev/null) && echo "@host was not refused"
        echo "@host refused $refused" | tr '\n' ' '
        echo
        pvir save --reset-devices "/tmp/saved-$answered" $vm </dev/null | sed 's/^/@host /'
        wait $vm || echo "@host ended with $?"
        du -k "/tmp/saved-$answered" | sed 's/^/@host KiB /'
        pvir run "$@" --restore "/tmp/saved-$answered" --device "vfio=$PVIR_DEVICES" </tmp/in >>/tmp/out 2>>/tmp/err &
        vm=$!
        echo "round $answered" >&3
        rm -f "/tmp/saved-$((answered - 1))"
    fi
    show
    usleep 100000
done
wait $vm
status=$?
show
cat /tmp/err >&2
exit $status
