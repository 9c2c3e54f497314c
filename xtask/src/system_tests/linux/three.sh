# The name of this shell is the script that runs a guest; the arguments are a command of pvir, and one that offers nothing.
run() {
    echo "@run $1"
    sh -c "$0" sh pvir "$2"
}
unsafe=/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts

# In the middle of its work.
PVIR_AT_QUESTION='[ $answered -lt 5 ] || kill -9 $vm'
export PVIR_AT_QUESTION
run killed "$1"
PVIR_AT_QUESTION=
run absent "$2"
# The host's administrator lets devices interrupt as they please: ENABLE is refused.
echo Y >$unsafe
run refused "$1"
