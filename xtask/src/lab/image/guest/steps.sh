# What the scripts share that take a driver through its life, step by step. Behind each step the one who looks on is asked,
# and so knows what of all that he counts belongs to it.
. /lib/guest/card

word() {
    for word in $(cat /proc/cmdline); do
        case $word in "pvir.$1="*) echo "${word#*=}" && return ;; esac
    done
    echo "$2"
}
here=10.0.2.2

# The end of a step: what is counted up to here was of it.
step() {
    ask "after $*"
}

# A sign of life of something that goes on for long.
progress() {
    [ $(($2 % 10)) -ne 0 ] || echo "@guest so far $*"
}

module() {
    insmod "/lib/guest/modules/$1.ko" $2 || fail "insmod $1"
}

# Where the MSI-X table of a device is, for one who counts accesses to it: from the capability (PCI Local Bus
# Specification 3.0, section 6.8.2).
table() {
    at=$((0x$(byte "$1" 52)))
    while [ $at -ne 0 ] && [ "$(byte "$1" $at)" != 11 ]; do
        at=$((0x$(byte "$1" $((at + 1)))))
    done
    [ $at -ne 0 ] || fail "$1 has no MSI-X"
    low=$((0x$(byte "$1" $((at + 4)))))
    offset=$((0x$(byte "$1" $((at + 7)))$(byte "$1" $((at + 6)))$(byte "$1" $((at + 5)))$(printf %02x $((low & 0xf8)))))
    bar=$(sed -n "$(((low & 7) + 1))s/ .*//p" "$1/resource")
    entries=$(((0x$(byte "$1" $((at + 3)))$(byte "$1" $((at + 2))) & 0x7ff) + 1))
    echo "@guest table ${1##*/} $(printf '0x%x' $((bar + offset))) $entries"
}

byte() {
    hexdump -s "$2" -n 1 -e '1/1 "%02x"' "$1/config"
}

# Every device of a driver that is loaded.
devices_of() {
    for device in "/sys/bus/pci/drivers/$1/"0000:*; do
        [ -e "$device" ] && readlink -f "$device"
    done
}

lines_of() {
    ls "$1/msi_irqs"
}

# The interrupts that are requested and may be moved: all but those of nvme's queues, which belong to their CPUs.
movable() {
    for irq in $(lines_of "$2"); do
        [ -z "$(find "/proc/irq/$irq" -mindepth 1 -type d)" ] || echo "$irq"
    done | if [ "$1" = nvme ]; then head -n 1; else cat; fi
}

bring_up() {
    case $1 in
        nvme)
            until [ -b /dev/nvme0n1 ]; do sleep 0.1; done
            ;;
        *)
            nic=$(ls "$2/net")
            ip addr add 10.0.2.15/24 dev "$nic" 2>/dev/null
            ip link set "$nic" up || fail "ip link set $nic up"
            until [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ]; do sleep 0.1; done
            ;;
    esac
}

# Some traffic, each answer of which is judged.
work() {
    case $1 in
        nvme)
            # A CPU that is offline meanwhile cannot be asked for, and the other one does it.
            for cpu in 0 1; do
                on=$((1 << cpu))
                taskset $on true 2>/dev/null || on=3
                taskset $on dd if=/tmp/pattern of=/dev/nvme0n1 bs=16k count=16 seek=$((cpu * 16)) oflag=direct 2>/dev/null ||
                    dd if=/tmp/pattern of=/dev/nvme0n1 bs=16k count=16 seek=$((cpu * 16)) oflag=direct 2>/dev/null ||
                    fail "writing on CPU $cpu"
                dd if=/dev/nvme0n1 bs=16k count=16 skip=$((cpu * 16)) iflag=direct 2>/dev/null |
                    cmp - /tmp/pattern || fail "what was written on CPU $cpu is read otherwise"
            done
            ;;
        *)
            # In no file: two may be at work at once.
            said=$(ping -c 4 -i 0.1 -W 60 -q $here) || fail "no answer to ping"
            case $said in *' 0% packet loss'*) ;; *) fail "$said" ;; esac
            ;;
    esac
}

# Traffic while something else happens; it goes on until it is told to end, and nothing of it may be lost.
begin_work() {
    rm -f /tmp/enough
    (
        rounds=0
        until [ -e /tmp/enough ]; do
            work "$1"
            rounds=$((rounds + 1))
        done
        echo $rounds >/tmp/rounds
    ) &
    worker=$!
}

end_work() {
    touch /tmp/enough
    wait $worker || fail "traffic of $1 during $2"
    echo "@guest worked $1 $2 rounds=$(cat /tmp/rounds)"
}

# Has the device raise all of its interrupts, where there is a way: igb's EICS (Intel 82576 datasheet, section 8.8.4).
kick() {
    case $1 in
        igb) devmem $(($(sed -n '1s/ .*//p' "$2/resource") + 0x1520)) 32 0x3ff ;;
        *) usleep 20000 ;;
    esac
}

# Moves every interrupt to and fro, in all so often; each arrives before the next.
move_all() {
    set -- "$1" "$2" "$3" $(movable "$1" "$2")
    driver=$1 device=$2 left=$3 cpu=1 done=0
    shift 3
    [ $# -gt 0 ] || { echo "@guest moved $driver 0"; return; }
    while [ "$left" -gt 0 ]; do
        for irq in "$@"; do
            [ "$left" -gt 0 ] || break
            echo $cpu >"/proc/irq/$irq/smp_affinity_list" || fail "smp_affinity of $irq"
            left=$((left - 1)) done=$((done + 1))
        done
        kick "$driver" "$device"
        cpu=$((1 - cpu))
        [ $((done % 1000)) -gt 10 ] || progress "$driver moves" $((done / 1000 * 10))
    done
    echo "@guest moved $driver $done"
}

offline() {
    echo 0 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not go offline"
    work "$1"
    echo 1 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not come back"
}

# Which chip has the interrupts of a device, and how many there are.
chips() {
    bdf=${1##*/}
    echo "@guest chips $2 $(sed -n "s/.* \([A-Z-]*PCI-MSIX*-$bdf\) .*/\1/p" /proc/interrupts | sort | uniq -c | tr -s ' \n' ' ')"
    sed "s/^/@counts $2 /" /proc/interrupts | grep -e CPU -e "$bdf"
}

# What the kernel warned of, and what it said of pvir.
warned() {
    dmesg | grep -v 'ommand line' | grep -E 'WARNING|BUG|Oops|pvir|[Tt]imeout|timed out|lockup|stall|spurious' | sed 's/^/@kernel /'
}
