# Runs a Linux guest that has a kernel for its crash with it, and has it go on in a new process whenever it asks "to be saved".
# The first argument is the kernel's command line, the others are those of pvir for each of these processes.
command_line=$1
shift
for device in $PVIR_DEVICES; do set -- "$@" --device "vfio=$device"; done
set -- "$@" --device emulated --device emulated,store=msi
mkdir -p /tmp/more/kexec
cp "$PVIR_LINUX" /tmp/more/kexec/vmlinux
cp "$PVIR_INITRD" /tmp/more/kexec/initrd
cp "$(command -v lab-driver)" /tmp/more/kexec/lab-driver
cp "$PVIR_INITRD" /tmp/initrd
(cd /tmp/more && find kexec | cpio -o -H newc 2>/dev/null) >>/tmp/initrd
rm -r /tmp/more
mkfifo /tmp/in
: >/tmp/out
exec 3<>/tmp/in
pvir run "$@" --append "$command_line" --initrd /tmp/initrd "$PVIR_LINUX" </tmp/in >>/tmp/out 2>>/tmp/err &
vm=$!
end=$(printf '\r')
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
    # The one by that number, when it has come to its end: a carriage return.
    question=$(grep "^@guest asks.*$end" /tmp/out | sed -n "$((answered + 1))p")
    if [ -n "$question" ]; then
        answered=$((answered + 1))
        case $question in
            *'to be saved'*)
                rm -f /tmp/saved
                pvir save /tmp/saved $vm </dev/null | sed 's/^/@host /'
                wait $vm || echo "@host ended with $?"
                pvir run "$@" --restore /tmp/saved </tmp/in >>/tmp/out 2>>/tmp/err &
                vm=$!
                ;;
        esac
        echo >&3
    fi
    show
    usleep 100000
done
wait $vm
status=$?
show
cat /tmp/err >&2
exit $status
