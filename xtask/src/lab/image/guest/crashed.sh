# Runs in the kernel behind a crash, which finds pvir enabled and its devices at work.
. /lib/guest/steps
. /lib/guest/device
echo "@guest crash kernel runs"
mount -t debugfs debugfs /sys/kernel/debug
module pvir
device_open
device_control request 8
chips "$device" emulated
device_rate 20
device_settle crashed
load
up
traffic crashed
echo "@guest card works crashed"
warned
echo "@guest done"
