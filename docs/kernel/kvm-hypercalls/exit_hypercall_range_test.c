// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0
/*
 * Test KVM_CAP_EXIT_HYPERCALL_RANGE: which ranges are taken, which hypercalls
 * come to user space and with what, and that KVM's own do not.
 */
#include <errno.h>
#include <string.h>

#include <linux/kvm_para.h>

#include "test_util.h"
#include "kvm_util.h"
#include "processor.h"

#define FIRST		0x50564952ull
#define COUNT		2
#define ANSWER		0x123456789abcull

#define NO_SUCH_CALL	((uint64_t)-KVM_ENOSYS)

static int forward(struct kvm_vm *vm, uint64_t first, uint64_t count,
		   uint64_t arg2, uint64_t arg3)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_EXIT_HYPERCALL_RANGE,
		.args = { first, count, arg2, arg3 },
	};

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static void expect_refused(struct kvm_vm *vm, uint64_t first, uint64_t count,
			   uint64_t arg2, uint64_t arg3)
{
	int ret = forward(vm, first, count, arg2, arg3);

	TEST_ASSERT(ret == -1 && errno == EINVAL,
		    "%lu numbers from 0x%lx (%lu, %lu): %d, errno %d",
		    count, first, arg2, arg3, ret, errno);
}

static void test_ranges(void)
{
	const uint64_t min = KVM_EXIT_HYPERCALL_RANGE_MIN, end = 1ull << 32;
	struct kvm_vm *vm = vm_create(1);

	/* KVM's own */
	expect_refused(vm, 0, 1, 0, 0);
	expect_refused(vm, KVM_HC_MAP_GPA_RANGE, 1, 0, 0);
	expect_refused(vm, min - 1, 2, 0, 0);
	/* More than 32 bits */
	expect_refused(vm, end, 1, 0, 0);
	expect_refused(vm, end - 1, 2, 0, 0);
	expect_refused(vm, min, end - min + 1, 0, 0);
	expect_refused(vm, min, UINT64_MAX, 0, 0);
	/* What is not used */
	expect_refused(vm, FIRST, COUNT, 1, 0);
	expect_refused(vm, FIRST, COUNT, 0, 1);

	TEST_ASSERT_EQ(forward(vm, min, end - min, 0, 0), 0);
	TEST_ASSERT_EQ(forward(vm, end - 1, 1, 0, 0), 0);
	TEST_ASSERT_EQ(forward(vm, FIRST, 0, 0, 0), 0);

	__vm_vcpu_add(vm, 0);
	expect_refused(vm, FIRST, COUNT, 0, 0);

	kvm_vm_free(vm);
}

/* What is forwarded returns ANSWER plus the place in the range. */
static void guest_code(uint64_t forwarded)
{
	uint64_t expected;
	int i;

	for (i = 0; i < COUNT; i++) {
		expected = forwarded ? ANSWER + i : NO_SUCH_CALL;
		GUEST_ASSERT_EQ(kvm_hypercall(FIRST + i, 1, 2, 3, 4), expected);
		GUEST_ASSERT_EQ(__xen_hypercall(FIRST + i, 5, (void *)6), expected);
	}

	/* The neighbours, another number in the same lower half, and KVM's own */
	GUEST_ASSERT_EQ(kvm_hypercall(FIRST - 1, 0, 0, 0, 0), NO_SUCH_CALL);
	GUEST_ASSERT_EQ(kvm_hypercall(FIRST + COUNT, 0, 0, 0, 0), NO_SUCH_CALL);
	GUEST_ASSERT_EQ(kvm_hypercall(FIRST | 1ull << 32, 0, 0, 0, 0), NO_SUCH_CALL);
	GUEST_ASSERT_EQ(kvm_hypercall(KVM_HC_VAPIC_POLL_IRQ, 0, 0, 0, 0), 0);

	GUEST_DONE();
}

static void answer(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs;

	TEST_ASSERT(run->hypercall.nr >= FIRST && run->hypercall.nr < FIRST + COUNT,
		    "0x%llx was forwarded", run->hypercall.nr);
	TEST_ASSERT_EQ(run->hypercall.flags, KVM_EXIT_HYPERCALL_LONG_MODE);
	TEST_ASSERT_EQ(run->hypercall.ret, NO_SUCH_CALL);

	vcpu_regs_get(vcpu, &regs);
	TEST_ASSERT_EQ(run->hypercall.args[0], regs.rbx);
	TEST_ASSERT_EQ(run->hypercall.args[1], regs.rcx);
	TEST_ASSERT_EQ(run->hypercall.args[2], regs.rdx);
	TEST_ASSERT_EQ(run->hypercall.args[3], regs.rsi);
	TEST_ASSERT_EQ(run->hypercall.args[4], regs.rdi);
	TEST_ASSERT_EQ(run->hypercall.args[5], regs.rbp);

	run->hypercall.ret = ANSWER + run->hypercall.nr - FIRST;
}

static void test_calls(uint64_t count, int exits)
{
	struct kvm_vm *vm = vm_create(1);
	struct kvm_vcpu *vcpu;
	struct ucall uc;

	TEST_ASSERT_EQ(forward(vm, FIRST, count, 0, 0), 0);
	vcpu = vm_vcpu_add(vm, 0, guest_code);
	vcpu_args_set(vcpu, 1, count);

	for (;;) {
		vcpu_run(vcpu);
		if (vcpu->run->exit_reason != KVM_EXIT_HYPERCALL)
			break;
		answer(vcpu);
		exits--;
	}

	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	case UCALL_DONE:
		break;
	default:
		TEST_FAIL("Unknown ucall %lu", uc.cmd);
	}
	TEST_ASSERT_EQ(exits, 0);

	kvm_vm_free(vm);
}

int main(void)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_EXIT_HYPERCALL_RANGE));

	test_ranges();
	test_calls(COUNT, 2 * COUNT);
	test_calls(0, 0);

	return 0;
}
