# Drives the first NVMe disk with its own driver, then without one: the device's memory in BAR4, where it has some.
. /lib/guest/card

# Its second queue has no interrupt: the driver looks for itself after this time, in seconds, in place of 30.
modprobe nvme_core io_timeout=1 || fail "modprobe nvme_core"
modprobe nvme || fail "modprobe nvme"
disk=/sys/class/nvme/nvme0
until [ "$(cat "$disk/state" 2>/dev/null)" = live ] && [ -b /dev/nvme0n1 ]; do
    sleep 0.1
done
echo "@guest queues $(cat "$disk/queue_count")"
for blocks in 0=64 1=1; do
    taskset -c "${blocks%=*}" dd if=/dev/nvme0n1 of=/dev/null bs=4k "count=${blocks#*=}" iflag=direct 2>/dev/null ||
        fail "reading on CPU ${blocks%=*}"
done
sed "s/^/@counts after /" /proc/interrupts | grep -e CPU -e nvme

# A register or a word of memory: $1 + $2, and with $3 it is written.
word() {
    devmem "$(printf '0x%x' $(($1 + $2)))" 32 $3
}

device=$(readlink -f "$disk/device")
echo "${device##*/}" >"$device/driver/unbind"
echo 1 >"$device/enable"
registers=$(sed -n '1s/ .*//p' "$device/resource")
read -r first last flags <<END
$(sed -n 5p "$device/resource")
END
size=$((last - first + 1))
echo "@guest bar4 $first $size"
# PMRCTL.EN: the memory answers (NVM Express 1.4, section 3.1.17 "Offset E04h").
word "$registers" 0xe04 1
half=$((size / 2 + 0x1000))
top=$((size - 4))
word "$first" 0 0x11111111
word "$first" "$half" 0x22222222
word "$first" "$top" 0x33333333
echo "@guest words $(word "$first" 0) $(word "$first" "$half") $(word "$first" "$top")"
echo "@guest done"
