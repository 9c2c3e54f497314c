# Runs a Linux guest: the first argument is the answer to whatever it asks on its console, the others are those of pvir.
# Where it has several lines, each is the answer to one question, and the last one to all that follow.
# With each answer it says how often the host has taken the device's interrupts, and once how long the guest took to come
# up, in seconds. In what pvir writes to stderr a line "@asked N" parts what was before a question from what came after.
answer=$1
shift
newline='
'
now() {
    read -r uptime rest </proc/uptime
    echo "$uptime"
}
started=$(now)
mkfifo /tmp/in
# appended to, so that two can write
pvir run "$@" --device "vfio=$PVIR_DEVICES" --initrd "$PVIR_INITRD" "$PVIR_LINUX" </tmp/in >/tmp/out 2>>/tmp/err &
vm=$!
exec 3>/tmp/in
answered=0
up=
while kill -0 $vm 2>/dev/null; do
    if [ -z "$up" ] && grep -q '^@guest userland' /tmp/out; then
        up=$(now)
        echo "@host userland $started $up"
    fi
    asked=$(grep -c '^@guest asks' /tmp/out)
    if [ "$asked" -gt "$answered" ]; then
        answered=$asked
        sed -n "s/^/@host $asked /; /vfio-msix/p" /proc/interrupts
        echo "@asked $asked" >>/tmp/err
        # A question that begins so is a command of pvir for this VM, and is answered when that has ended.
        question=$(grep '^@guest asks' /tmp/out | sed -n "${asked}p" | tr -d '\r')
        case $question in
        '@guest asks host: '*)
            # The guest does not know where the host has the card.
            words=$(echo "${question#*host: }" | sed "s/vfio=card/vfio=$PVIR_DEVICES/")
            # Its words are parted by blanks.
            # shellcheck disable=SC2086
            pvir $words $vm >>/tmp/host 2>&1 || echo "failed: $?" >>/tmp/host
            ;;
        esac
        echo "${answer%%"$newline"*}" >&3
        answer=${answer#*"$newline"}
    fi
    usleep 100000
done
wait $vm
status=$?
cat /tmp/out
[ ! -e /tmp/host ] || sed 's/^/@host pvir /' /tmp/host
cat /tmp/err >&2
exit $status
