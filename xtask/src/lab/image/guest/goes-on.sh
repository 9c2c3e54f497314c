# What the module for pvir goes through beside the lives of drivers: events, sleep, the test of hibernation, saves of the VM,
# and at last a crash, behind which the script `crashed` goes on. The emulated device raises its interrupts all the time; its
# numbers tell whether one was lost.
. /lib/guest/steps
. /lib/guest/device

# Waits until each of the device's interrupts has come again, three times at least.
device_flows() {
    handled >/tmp/handled
    until handled | awk 'NR == FNR { before[FNR] = $1; next } $1 < before[FNR] + 3 { exit 1 }' /tmp/handled -; do
        usleep 50000
    done
    echo "@guest flows $1"
}

handled() {
    sed -n 's/^vector=.* handled=\([0-9]*\) .*/\1/p' "$status"
}

card_works() {
    traffic "$1"
    echo "@guest card works $1"
}

# As its driver is told nothing of a restore by Linux, who finds the card reset.
card_again() {
    ip link set "$nic" down
    ip link set "$nic" up || fail "ip link set $nic up"
    until [ "$(cat "/sys/class/net/$nic/carrier" 2>/dev/null)" = 1 ]; do sleep 0.1; done
    card_works "$1"
}

# An event of the emulated device, by its number in docs/abi.md.
event() {
    known=$(mapped)
    device_control event "$1"
    until [ "$(mapped)" -gt "$known" ]; do usleep 50000; done
}

# How often interrupts were mapped again, by what the module says.
mapped() {
    dmesg | grep -c 'interrupts mapped again'
}

# A sleep from which the first interrupt of the device wakes the machine. One that comes before all sleeps ends the try.
sleep_until_woken() {
    seconds=2
    device_control stop
    device_control wake 1
    until device_control rate 0 8 $((seconds * 1000000)) 1000 && echo freeze 2>/dev/null >/sys/power/state; do
        seconds=$((seconds * 2))
    done
    device_control wake 0
    device_control stop
    device_settle slept
}

# The kernel for the crash. What has been loaded is no part of an image of memory, and the files would be.
chmod +x /kexec/lab-driver
/kexec/lab-driver kexec /kexec/vmlinux /kexec/initrd \
    "$(sed 's/pvir.run=[a-z-]*/pvir.run=crashed/; s/crashkernel=[^ ]*//' /proc/cmdline) nr_cpus=1 reset_devices" ||
    fail "no crash kernel was loaded"
rm -r /kexec
mount -t debugfs debugfs /sys/kernel/debug
module pvir
device_open
table "$device"
device_control request 8
chips "$device" emulated
device_control resend 3
device_settle resent
# Several messages of MSI: Linux takes one. It has no mask, and so is parked when it is freed.
device_use 2
device_control msi 8
chips "$device" msi
device_rate 20
device_settle msi
device_control free
device_use 1
load
up
card_works first

device_rate 1000000
event 1
device_flows event
# Cut off, and back.
device_control event 3
until grep -q 'cut-off' /sys/kernel/debug/pvir/devices; do usleep 50000; done
event 0
device_flows cut-off
device_control stop
device_settle events

sleep_until_woken
card_works slept

device_rate 1000000
echo core >/sys/power/pm_test
echo disk >/sys/power/state || fail "the test of hibernation"
echo none >/sys/power/pm_test
device_flows hibernation
device_control stop
device_settle hibernation
card_works hibernation

device_rate 1000000
ask "to be saved"
device_flows saved
device_control stop
device_settle saved
card_again saved

# Now without a vector for events.
device_rate 1000000
rmmod pvir || fail "rmmod pvir"
module pvir notify=0
grep 'event-vector 0x0$' /sys/kernel/debug/pvir/host || fail "there is a vector for events"
event 1
device_flows polled
ask "to be saved"
device_flows saved-again
device_control stop
device_settle saved-again
card_again saved-again
sed 's/^/@guest calls /' /sys/kernel/debug/pvir/calls

warned
device_rate 1000000
echo "@guest crashes"
# What stands on the console comes out.
sleep 1
echo 1 >/proc/sys/kernel/sysrq
taskset 1 sh -c 'echo c >/proc/sysrq-trigger'
