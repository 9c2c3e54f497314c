# A life of the emulated device's test driver, whose device numbers its interrupts: none may be lost, whatever happens.
device_control() {
    echo "$*" >"$control" || fail "the device does not take: $*"
}

# Waits until the handlers have seen the last number of each interrupt, and says how it stands.
device_settle() {
    until tail -n 1 "$status" | grep -q 'rounds=0$'; do
        usleep 20000
    done
    tries=0
    while ! tail -n 1 "$status" | grep -q ' pending=0 ' && [ $tries -lt 100 ]; do
        usleep 20000
        tries=$((tries + 1))
    done
    echo "@guest device $1 $(tail -n 1 "$status")"
    tail -n 1 "$status" | grep -q ' pending=0 ' || fail "lost: $(grep 'pending=1' "$status")"
}

# Rounds of each interrupt, 20 ms apart, while something else happens.
device_rate() {
    device_control rate 0 "$(grep -c ^vector "$status")" 20000 "$1"
}

# Its driver is loaded; the first of its devices is used.
device_open() {
    module pvir_test_device
    device_use 1
}

device_use() {
    device=$(devices_of pvir_test_device | sed -n "$1p")
    [ -n "$device" ] || fail "no emulated device"
    control=/sys/kernel/debug/pvir-test/${device##*/}/control
    status=/sys/kernel/debug/pvir-test/${device##*/}/status
}

device_life() {
    device_open
    step emulated load
    table "$device"
    device_control request 8
    step emulated request
    chips "$device" emulated
    device_rate 20
    device_settle traffic
    step emulated traffic
    device_rate 1000000
    move_all emulated "$device" "$moves"
    device_control stop
    device_settle moves
    step emulated moves
    device_rate 1000000
    for irq in $(movable emulated "$device"); do
        echo "$irq $masks" >/sys/kernel/debug/pvir-test-irq || fail "masking $irq"
    done
    device_control stop
    device_settle masks
    step emulated masks
    device_rate 1000000
    round=0
    while [ $round -lt "$offline" ]; do
        echo 0 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not go offline"
        echo 1 >/sys/devices/system/cpu/cpu1/online || fail "CPU 1 does not come back"
        round=$((round + 1))
        progress "emulated offline" $round
    done
    device_control stop
    device_settle offline
    step emulated offline
    # Vectors come and go one by one while others run.
    device_rate 1000000
    round=0
    while [ $round -lt 4 ]; do
        device_control add
        device_control raise 8
        usleep 50000
        grep '^vector=8 ' "$status" | grep -q 'raised=1 handled=1 .*pending=0' || fail "a new vector: $(grep '^vector=8 ' "$status")"
        device_control drop
        round=$((round + 1))
    done
    device_control stop
    device_settle dynamic
    step emulated dynamic
    device_control free
    step emulated release
    round=0
    while [ $round -lt "$rebinds" ]; do
        echo "${device##*/}" >/sys/bus/pci/drivers/pvir_test_device/unbind || fail "unbinding $device"
        echo "${device##*/}" >/sys/bus/pci/drivers/pvir_test_device/bind || fail "binding $device"
        device_control request 8
        device_rate 2
        device_settle rebind
        round=$((round + 1))
        progress "emulated rebinds" $round
    done
    step emulated rebinds
    rmmod pvir_test_device || fail "rmmod pvir_test_device"
    step emulated unload
}
