# Arguments: name:vectors of each subject, ways, repetitions at least and at most, seconds for them, the kernel's words. The
# devices are bound in the order in which their names come.
subjects=$1 ways=$2 least=$3 most=$4 limit=$5 all_words=$6
cd "$PVIR_PAYLOAD" || exit 1

run() {
    way=$1 bdf=$2 words="$all_words vectors=$3"
    case $way in
        direct) pvir run --cpus 2 --timeout 100 --json - --rate-limit off --no-history --device "vfio=$bdf" --append "$words" ;;
        trapped) pvir run --cpus 2 --timeout 100 --json - --rate-limit off --no-history --mode trap --device "vfio=$bdf" --append "$words" ;;
        qemu)
            timeout 100 ./qemu/run -L ./qemu/rom \
                -accel kvm -cpu host,+x2apic -machine q35 -m 256M -smp 2 -nodefaults -no-user-config -no-reboot \
                -display none -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 \
                -kernel "$PVIR_KERNEL" -append "$words" -device "vfio-pci,host=$bdf,rombar=0" </dev/null
            ;;
        cloud-hypervisor)
            timeout 100 ./cloud-hypervisor/run --kernel "$PVIR_KERNEL" --cmdline "$words" --cpus boot=2 \
                --memory size=256M --serial tty --console off --device "path=/sys/bus/pci/devices/$bdf/" </dev/null
            ;;
    esac
}

seconds() {
    read -r uptime rest </proc/uptime
    echo "${uptime%.*}"
}

# one VM for which nothing is warm, in L1 and in the emulator, and that does not count
run trapped "${PVIR_DEVICES%% *}" 1 >/dev/null || true

started=$(seconds)
repeat=0
while [ "$repeat" -lt "$most" ]; do
    set -- $PVIR_DEVICES
    before=${subjects%%:*}
    for subject in $subjects; do
        name=${subject%:*}
        [ "$name" = "$before" ] || shift
        before=$name
        for way in $ways; do
            echo "@run $name $way"
            # how a VMM ends tells less than what the kernel said
            run "$way" "$1" "${subject#*:}" || true
        done
    done
    # the next time another one goes first
    ways="${ways#* } ${ways%% *}"
    repeat=$((repeat + 1))
    # as long again as the mean of those before
    spent=$(($(seconds) - started))
    if [ "$repeat" -ge "$least" ] && [ $((spent + spent / repeat)) -gt "$limit" ]; then
        break
    fi
done
